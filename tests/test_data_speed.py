"""benchmarks/data_speed.py reads the same slices on every side and writes a row for each."""

import json
import math
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import data_speed  # noqa: E402
from loading import cache, measure, volumes  # noqa: E402
from loading.sides import Side, record_batches, store_batches  # noqa: E402
from speed import machine  # noqa: E402

with_torch = pytest.mark.skipif(not machine.has_torch(), reason="torch is not installed")
TINY = ["--volumes=8", "--size", "16", "14", "4", "--batch=3", "--repeats=2", "--seconds=0.01", "--epochs=2"]
SHAPE = (4, 16, 14)


def run_tiny(tmp_path, *options) -> dict:
    file = tmp_path / "deep" / "data.json"
    assert data_speed.main([*TINY, f"--folder={tmp_path}", f"--json={file}", *options]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["deep"], "temporary files are gone"
    return json.loads(file.read_text())


@with_torch
def test_a_tiny_run_has_every_row_and_number(tmp_path, capsys):
    facts = run_tiny(tmp_path, "--workers=0,1")
    found = [(row["cache"], row["side"], row["workers"]) for row in facts["rows"]]
    both = [(side, workers) for side in ("pipeline", measure.BASE) for workers in (0, 1)]
    scans = ("warm", "torch DataLoader, .nii.gz", 0)
    batched = [("warm", measure.BATCHED, workers) for workers in (0, 1)]
    assert found == [("warm", "store", 0), *(("warm", *row) for row in both[:2]), ("warm", "ArrayRecord", 0),
                     *(("warm", *row) for row in both[2:]),
                     *batched, scans, *(("cold", *row) for row in both)]  # fmt: skip
    for row in facts["rows"]:
        for name in ("slices_per_s", "times_torch", "times_best_torch"):
            low, high = row[f"{name}_quartiles"]
            assert 0 < low <= row[name] <= high
        if row["side"] == measure.BASE:
            assert row["times_torch"] == 1
    assert len(facts["memory"]) == 2 and all(math.isfinite(epoch["own_mb"]) for epoch in facts["memory"])
    assert all(seconds > 0 for seconds in facts["opening"].values())
    assert facts["settings"]["size"] == [16, 14, 4] and "torch" in facts["environment"]
    table = capsys.readouterr().out
    assert table.count("\n| warm |") == 9 and table.count("\n| cold |") == 4


def test_without_torch_ours_are_measured_alone(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(data_speed, "has_torch", lambda: False)
    facts = run_tiny(tmp_path, "--workers=2")
    assert {row["side"] for row in facts["rows"]} == {"store", "pipeline", "ArrayRecord"}
    assert not any("times_torch" in row for row in facts["rows"])
    assert "pip install 'cdm_jax[bench]'" in capsys.readouterr().err


@with_torch
def test_every_side_reads_the_slices_that_were_written(tmp_path):
    from loading.torch_side import BatchedSlices, ScanSlices, Slices

    entries = volumes.write_entries(tmp_path / "store", 3, SHAPE)
    stored = [np.load(path) for path in entries]
    batch = BatchedSlices(entries).__getitems__([2, 0])
    for row, volume in enumerate(batch["volume"].tolist()):
        for name in ("image", "mask"):
            expected = stored[volume][name][batch["slice"][row]]
            np.testing.assert_array_equal(batch[name][row, 0].numpy(), expected)
    dataset = Slices(entries)
    for item in (dataset[n] for n in range(3)):
        for name in ("image", "mask"):
            expected = stored[item["volume"]][name][item["slice"]]
            np.testing.assert_array_equal(item[name].numpy()[0], expected)
    known = {(image.tobytes(), mask.tobytes()) for entry in stored for image, mask in
             zip(entry["image"], entry["mask"], strict=True)}  # fmt: skip
    records = volumes.write_records(tmp_path / "records", entries)
    for batches in (store_batches(entries, 5), record_batches(records, SHAPE, 5)):
        for images, masks in islice(batches, 3):
            assert {(i.tobytes(), m.tobytes()) for i, m in zip(images, masks, strict=True)} <= known
    item = ScanSlices(volumes.write_scans(tmp_path / "scans", 1, SHAPE))[0]
    image, mask = volumes.make_volume(SHAPE, 0)
    np.testing.assert_array_equal(item["image"].numpy()[0], image[item["slice"]])
    np.testing.assert_array_equal(item["mask"].numpy()[0], mask[item["slice"]])


def test_ratios_are_formed_within_a_turn(monkeypatch):
    rates = {"pipeline": iter([10.0, 30.0, 80.0]), measure.BASE: iter([5.0, 10.0, 20.0])}
    sides = [Side(name, 1, iter) for name in rates]
    ours, torch = measure.in_turn(sides, 3, lambda side: next(rates[side.name]), "warm")
    assert ours["slices_per_s"] == 30 and torch["slices_per_s"] == 10
    assert ours["times_torch"] == ours["times_best_torch"] == 3 and ours["times_torch_quartiles"] == [
        2.5,
        3.5,
    ]


def test_batches_that_were_ready_are_not_counted(monkeypatch):
    now, given = [0.0], []

    def batches():
        while True:
            given.append(now[0])
            now[0] += 0.0 if len(given) <= 8 else 0.5
            yield

    monkeypatch.setattr(measure.time, "perf_counter", lambda: now[0])
    assert measure.warm_rate(Side("s", 0, batches, ahead=7), batch=6, seconds=2) == 12
    given.clear()
    assert measure.cold_rate(Side("s", 0, batches), batch=6, count=12) == 12 * 6 / 2


def test_dropped_files_leave_the_page_cache(tmp_path):
    paths = volumes.write_entries(tmp_path, 2, SHAPE)
    for path in paths:
        path.read_bytes()
    before = cache.cached_share(paths)
    if before is None:
        pytest.skip("this file system cannot tell")
    assert before == 1
    cache.drop(paths)
    assert cache.cached_share(paths) in (0, 1)  # 1 where files live in memory


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--volumes=0"], "--volumes"),
        (["--batch=0"], "--batch"),
        (["--size", "1", "9", "9"], "--size"),
        (["--workers=1,x"], "--workers"),
        (["--repeats=0"], "--repeats"),
    ],
)
def test_bad_options_are_one_line(options, named, capsys, monkeypatch):
    monkeypatch.setattr(data_speed, "measured", lambda *_: pytest.fail("measured"))
    assert data_speed.main(options) == 2
    message = capsys.readouterr().err
    assert named in message and message.count("\n") == 1
