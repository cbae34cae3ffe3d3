# make demo: the main job on embedded data.   make test: all tests.   Both set everything up in .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-slow lint torch clean

demo: .venv/.demo
	$(BIN)/cdm demo --out demo_out

test: .venv/.test
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: .venv/.test
	$(BIN)/python -m pytest -m slow || [ $$? -eq 5 ]  # 5: there are none

lint: .venv/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p cdm_jax

# What the benchmarks compare with; without it the tests of the torch reference are skipped.
torch: .venv/.bench

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("cdm_jax needs Python 3.11 or newer; set PYTHON=python3.x" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv

.venv/.demo: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	touch $@

.venv/.test: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	touch $@

.venv/.bench: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	touch $@

clean:
	rm -rf .venv demo_out
