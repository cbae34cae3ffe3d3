"""The noise benchmark compares like with like, and says in one line what it cannot do."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from golden_arrays import load

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
import noise_speed  # noqa: E402


def test_package_field_is_the_published_one():
    pytest.importorskip("opensimplex")
    expected = load("simplex")["field96_7"].reshape(96, 96)
    np.testing.assert_allclose(noise_speed.package_field(7, 96), expected, atol=1e-5, rtol=0)


def test_both_sides_draw_the_same_field_for_one_table():
    pytest.importorskip("opensimplex")
    assert noise_speed.difference(12) < 1e-5


def test_sides_that_differ_are_not_timed(monkeypatch, capsys):
    pytest.importorskip("opensimplex")
    monkeypatch.setattr(noise_speed, "package_field", lambda seed, size: np.full((size, size), 0.5))
    monkeypatch.setattr(noise_speed, "measure", lambda *_: pytest.fail("timed"))
    assert noise_speed.main(["--size", "12"]) == 2
    assert "differ by" in capsys.readouterr().err


def test_keys_of_a_batch_and_of_calls_are_distinct():
    fields = np.concatenate([noise_speed._our_fields(3, 12, call) for call in (0, 1)])
    assert len({field.tobytes() for field in fields}) == 6


def test_small_run_prints_a_table_and_writes_every_row(tmp_path, capsys):
    pytest.importorskip("opensimplex")
    options = ["--batch", "1,3", "--size", "8", "--repeats", "2", "--json", str(tmp_path / "speed.json")]
    assert noise_speed.main(options) == 0
    written = json.loads((tmp_path / "speed.json").read_text())
    rows = written["rows"]
    assert [(row["side"], row["batch"]) for row in rows] == [
        ("opensimplex", 1), ("cdm_jax", 1), ("cdm_jax", 3),
    ]  # fmt: skip
    assert rows[0]["ratio"] == 1
    for row in rows:
        low, high = row["fields_per_s_quartiles"]
        assert 0 < low <= row["fields_per_s"] <= high
    assert written["package"]["numba"] == noise_speed.numba_version()
    assert capsys.readouterr().out.count("\n| cdm_jax |") == 2


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--batch", "0"], "--batch"),
        (["--batch", "1,two"], "--batch"),
        (["--batch", ""], "--batch"),
        (["--size", "0"], "--size"),
        (["--repeats", "0"], "--repeats"),
    ],
)
def test_bad_options_are_one_line(options, named, capsys):
    assert noise_speed.main(options) == 2
    message = capsys.readouterr().err
    assert named in message
    assert message.count("\n") == 1


def test_absent_package_names_the_extra(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "opensimplex", None)
    assert noise_speed.main(["--size", "8"]) == 2
    message = capsys.readouterr().err
    assert "pip install 'cdm_jax[bench]'" in message
    assert message.count("\n") == 1
