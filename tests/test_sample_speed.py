"""benchmarks/sample_speed.py compares like with like, counts right and says so when the two sides differ."""

import json
import re
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import sample_speed  # noqa: E402
from speed import brain, cells, machine  # noqa: E402
from speed import report as speed_report  # noqa: E402
from speed import rows as speed_rows  # noqa: E402
from speed.cost import flops, flops_per_slice  # noqa: E402
from speed.measure import TOLERANCE, status  # noqa: E402
from speed.timing import alternate, median_iqr  # noqa: E402
from speed.weights import random_variables  # noqa: E402

from cdm_jax import config  # noqa: E402

with_torch = pytest.mark.skipif(not machine.has_torch(), reason="torch is not installed")

SMALL = (
    "--config.preprocess.spacing=8.0",
    "--config.preprocess.shape=(24,28,24)",
    "--config.model.channels=8",
    "--config.model.multipliers=(1,)",
    "--config.model.blocks=1",
)
UNCONDITIONAL = ("--config.encoder.name=none", "--config.noise.shared_test=False")
CONDITIONAL = ("--config.encoder.features=8", "--config.encoder.width=4")


@pytest.fixture(autouse=True)
def small_peak(monkeypatch):
    """The peak of a product that takes no time."""
    monkeypatch.setitem(machine.SIDE, "cpu", 64)


@pytest.fixture
def one_thread():
    """Torch's threads wait for each other at every small layer, and the tests share the machine with others."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def rows_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@with_torch
def test_all_samplers_agree_with_torch_and_every_column_is_there(tmp_path, capsys, one_thread):
    file = tmp_path / "deep" / "speed.jsonl"
    words = [
        "--sampler=single_step,ensemble,ddpm,ddim",
        "--t-start=4",
        "--steps=2",
        "--slices=3",
        "--batch=2",
    ]
    eta = "--config.sampler.eta=0.5"
    code = sample_speed.main(
        [*SMALL, *UNCONDITIONAL, *words, eta, "--repeats=2", f"--json={file}", "--torch=eager"]
    )
    rows = rows_of(file)
    assert code == 0, capsys.readouterr().err
    assert [(row["sampler"], row["evaluations"]) for row in rows] == [
        ("single_step", 1), ("ensemble", 2), ("ddpm", 4), ("ddim", 2)]  # fmt: skip
    for row in rows:
        assert row["status"] == "ok" and row["torch"] == "eager" and row["slices"] == 3
        assert 0 <= row["mean_difference"] <= row["largest_difference"] < 1e-4
        ratio = row["torch_seconds"] / row["seconds"]
        np.testing.assert_allclose(row["times_faster_than_torch"], ratio)
        np.testing.assert_allclose(row["slices_per_s"], 3 / row["seconds"])
        np.testing.assert_allclose(row["percent_of_peak"], 100 * row["tflops"] / row["peak_tflops"])
        assert row["compile_s"] > 0 and row["peak_memory_gb"] > 0.05
        assert {"time", "torch", "threads", "versions"} <= row["environment"].keys()
    # The same network, so arithmetic goes by evaluations.
    work = [row["tflops"] * row["seconds"] for row in rows]
    np.testing.assert_allclose(np.array(work) / work[0], [1, 2, 4, 2], rtol=1e-6)
    assert (tmp_path / "deep" / "speed.md").read_text().count("\n| ") == 6
    assert (tmp_path / "deep" / "speed.png").read_bytes().startswith(b"\x89PNG")


@with_torch
def test_a_broken_weight_is_a_mismatch(tmp_path, capsys, monkeypatch, one_thread):
    from speed import torch_side

    def broken(variables):
        state = to_torch(variables)
        state["encoder.fc.bias"] = state["encoder.fc.bias"] + 1
        return state

    to_torch = torch_side.to_torch
    monkeypatch.setattr(torch_side, "to_torch", broken)
    file = tmp_path / "speed.jsonl"
    words = ["--sampler=single_step", "--slices=2", "--repeats=1", "--torch=eager", f"--json={file}"]
    assert sample_speed.main([*SMALL, *CONDITIONAL, *words]) == 1
    (row,) = rows_of(file)
    assert row["status"] == "MISMATCH" and row["largest_difference"] > row["tolerance"] and row["seconds"] > 0
    assert re.search(r"^MISMATCH: single_step .*allowed are 1e-04$", capsys.readouterr().err, re.M)


def test_a_failing_cell_is_a_row_and_the_next_one_runs(tmp_path, capsys, monkeypatch):
    def measure(cell, *_):
        if cell.config.sampler.batch == 4:
            raise RuntimeError("out of\nmemory")
        return {"status": "ok", "seconds": 1.0, "seconds_iqr": 0.0}

    monkeypatch.setattr(sample_speed, "measure", measure)
    file = tmp_path / "speed.jsonl"
    words = ["--batch=4,2", "--slices=2", "--torch=off", f"--json={file}", f"--out={tmp_path / 'there'}"]
    assert sample_speed.main([*SMALL, *UNCONDITIONAL, *words]) == 1
    failed, good = rows_of(file)
    assert failed["status"] == "FAILED" and failed["error"] == "RuntimeError: out of memory"
    assert good["status"] == "ok"
    assert "RuntimeError: out of memory" in (tmp_path / "there" / "speed.md").read_text()
    assert (tmp_path / "there" / "speed.png").exists() and "FAILED: " in capsys.readouterr().err
    sample_speed.main([*SMALL, *UNCONDITIONAL, *words])
    assert len(rows_of(file)) == 4, "a second run appends"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--sampler=euler"], "unknown sampler 'euler'.*ddim, .*single_step"),
        (["--preset=huge"], "huge"),
        (["--batch=0"], "batch.*0"),
        (["--batch=x"], "--batch.*x"),
        (["--repeats=0"], "repeats.*0"),
        (["--steps=0", "--sampler=ddim"], "steps.*0"),
        (["--slices=999"], "slices 999"),
        (["--t-start=1001"], "1001.* 0 ... 1000"),
        (["--t-start=5", "--sampler=single_step,ddim", "--steps=6"], "6 steps.*t_start 5"),
        (["--dtype=float16"], "unknown dtype 'float16'.*bfloat16, float32"),
        (["--devices=9"], "9 devices.* 8"),
        (["--torch=jit"], "unknown --torch mode 'jit'.*compile, eager, off"),
        (["--parallel=xmap"], "xmap"),
        (["--config.model.chanels=8"], "model.channels"),
        (["--what"], "--what"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(words, told, capsys, monkeypatch):
    monkeypatch.setattr(sample_speed, "run", lambda *_: pytest.fail("something was run"))
    assert sample_speed.main([*SMALL, *UNCONDITIONAL, *words]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and re.search(told, err), err


def test_absent_torch_names_the_extra_only_when_asked_for(capsys, monkeypatch):
    monkeypatch.setattr(speed_rows, "has_torch", lambda: False)
    assert sample_speed.main([*SMALL, "--torch=eager"]) == 2
    assert "pip install 'cdm_jax[bench]'" in capsys.readouterr().err
    args, overrides = sample_speed.parser().parse_known_args([*SMALL, "--sampler=single_step"])
    assert [cell.about["torch"] for cell in cells.make_cells(args, overrides)] == ["off"]


def test_a_dtype_that_the_device_lacks_is_refused(monkeypatch, capsys):
    def refuse(*_):
        raise TypeError("no such unit")

    monkeypatch.setattr(jnp, "ones", refuse)
    assert sample_speed.main([*SMALL, "--dtype=bfloat16", "--torch=off"]) == 2
    assert "cannot compute in bfloat16" in capsys.readouterr().err


@with_torch
def test_every_combination_is_a_cell_and_torch_modes_are_one_where_torch_has_no_such_sampler():
    words = ["--sampler=ensemble,ddim,heun", "--torch=off,eager,compile", "--dtype=float32,bfloat16",
             "--steps=3,5", "--t-start=10,20"]  # fmt: skip
    args, overrides = sample_speed.parser().parse_known_args([*SMALL, *words])
    found = [cell.about for cell in cells.make_cells(args, overrides)]
    count = {name: sum(about["sampler"] == name for about in found) for name in args.sampler}
    assert count == {"ensemble": 3 * 2, "ddim": 3 * 2 * 2 * 2, "heun": 2 * 2 * 2}
    assert found[0]["settings"]["t_starts"] == (10, 20) and found[0]["evaluations"] == 4


def test_sides_take_turns_and_are_timed_apart():
    now, order = [0.0], []

    def side(name, seconds):
        def run():
            order.append(name)
            now[0] += seconds

        return run

    seconds = alternate({"a": side("a", 1.0), "b": side("b", 3.0)}, 3, clock=lambda: now[0])
    assert order == ["a", "b"] * 3
    assert seconds == {"a": [1.0] * 3, "b": [3.0] * 3}


def test_median_and_quartile_distance():
    assert median_iqr([5.0, 1.0, 2.0, 4.0, 3.0]) == (3.0, 2.0)
    assert median_iqr([7.0]) == (7.0, 0.0)


def test_the_table_leaves_out_what_was_not_measured_and_lists_errors():
    environment = {"versions": {"jax": "1"}, "torch": "2", "backend": "cpu", "processor": "X", "threads": 2,
                   "time": "2020-02-03T00:00:00", "devices": ["cpu"]}  # fmt: skip
    row = {"preset": "demo", "sampler": "ddim", "settings": {"t_start": 9, "steps": 3, "eta": 0.5}, "dtype": "f",
           "convolution": "direct", "batch": 2, "devices": 1, "parallel": "jit", "torch": "off", "evaluations": 3,
           "environment": environment}  # fmt: skip
    good = row | {"slices": 4, "seconds": 2.0, "seconds_iqr": 0.5, "torch_compile_s": None, "status": "ok"}
    bad = row | {"status": "FAILED", "error": "RuntimeError: no"}
    lines = speed_report.markdown([good, bad]).splitlines()
    assert lines[0].startswith("2020-02-03, X, 2 threads, jax 1, torch 2")
    heads, cells_of_good = (re.split(r"\s*\|\s*", line)[1:-1] for line in (lines[2], lines[4]))
    named = dict(zip(heads, cells_of_good, strict=True))
    assert named["sampler"] == "ddim from 9 in 3 steps eta 0.5" and named["ours, s a volume"] == "2 ± 0.5"
    assert named["torch compile, s"] == named["largest diff"] == "-"
    assert len({len(line) for line in lines[2:6]}) == 1
    assert lines[-1].endswith("RuntimeError: no")


def test_not_a_number_is_a_mismatch():
    assert status({"largest_difference": float("nan"), "tolerance": 1.0}) == "MISMATCH"
    assert status({"largest_difference": 0.5, "tolerance": 1.0}) == status({}) == "ok"
    assert all(0 < allowed < 1 for allowed in TOLERANCE.values())


def test_arithmetic_is_counted_as_xla_does():
    a = jnp.ones((8, 16))
    assert flops(lambda a: a @ a.T, a) == 2 * 8 * 8 * 16
    settings = config.load("configs/demo.py", [*SMALL, *CONDITIONAL])
    once, five = flops_per_slice(settings, 1), flops_per_slice(settings, 5)
    assert 0 < once < five < 5 * once, "the encoder is counted once"


def test_weights_are_the_same_every_time_and_nowhere_zero():
    settings = config.load("configs/demo.py", [*SMALL, *CONDITIONAL])
    one, two = random_variables(settings), random_variables(settings)
    assert all(
        np.array_equal(a, b) and np.any(a) for a, b in zip(*map(jax.tree.leaves, (one, two)), strict=True)
    )


def test_without_nilearn_a_random_head_takes_the_phantoms_place(monkeypatch):
    settings = config.load("configs/demo.py", SMALL)
    real = brain.brain_slices(settings, 3)
    monkeypatch.setitem(sys.modules, "nilearn", None)
    made = brain.brain_slices(settings, 3)
    assert real.source == "embedded phantom" and made.source == "random head, as nilearn is missing"
    for found in (real, made):
        assert found.images.shape == (3, 24, 28) and len(set(found.places)) == 3
        assert found.images.min() >= 0 and found.images.max() <= 1
        assert found.images.std(axis=(1, 2)).min() > 0.05


def test_the_compilation_cache_is_off_inside_and_back_after():
    before = jax.config.jax_enable_compilation_cache
    with machine.without_cache():
        assert not jax.config.jax_enable_compilation_cache
    assert jax.config.jax_enable_compilation_cache == before
