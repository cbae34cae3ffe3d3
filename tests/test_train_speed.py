"""benchmarks/train_speed.py lets both sides train the same, counts right and says so when they differ."""

import argparse
import itertools
import json
import re
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import train_speed  # noqa: E402
from speed import machine  # noqa: E402
from speed import rows as speed_rows  # noqa: E402
from speed.brain import Brain, random_head  # noqa: E402
from speed.weights import random_variables  # noqa: E402
from training import cells, clock, feed, measure, report, sides  # noqa: E402

with_torch = pytest.mark.skipif(not machine.has_torch(), reason="torch is not installed")

SMALL = (
    "--config.preprocess.spacing=16.0",
    "--config.preprocess.shape=(12,14,12)",
    "--config.model.channels=8",
    "--config.model.multipliers=(1,)",
    "--config.model.blocks=1",
    "--config.train.batch=4",
    "--config.encoder.name=none",
)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """The peak of a product that takes no time, and slices that need no registration."""
    head = np.moveaxis(random_head((12, 14, 12)), 2, 0)
    monkeypatch.setitem(machine.SIDE, "cpu", 64)
    monkeypatch.setattr(train_speed, "brain_slices", lambda config: Brain(head, np.arange(12), "random head"))


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


def asked(*words: str) -> list[cells.Cell]:
    args, overrides = train_speed.parser().parse_known_args([*SMALL, *words])
    return cells.make_cells(train_speed.lists(args), overrides)


@with_torch
def test_both_sides_take_the_same_first_step_and_every_column_is_there(tmp_path, capsys, one_thread):
    file = tmp_path / "deep" / "train.jsonl"
    words = ["--rounds=2", "--steps=2", "--torch=eager", f"--json={file}"]
    code = train_speed.main([*SMALL, *words])
    (row,) = rows_of(file)
    assert code == 0 and row["status"] == "ok", capsys.readouterr().err
    assert row["loss_difference"] < 1e-5 and row["grad_norm_difference"] < 1e-3
    assert row["p10_s"] <= row["p50_s"] <= row["p90_s"] <= row["p99_s"]
    np.testing.assert_allclose(row["slices_per_s"], 4 / row["p50_s"])
    np.testing.assert_allclose(row["tflops"], row["flops_a_step"] / row["p50_s"] / 1e12)
    np.testing.assert_allclose(row["percent_of_peak"], 100 * row["tflops"] / row["peak_tflops"])
    np.testing.assert_allclose(row["times_faster_than_torch"], row["torch_p50_s"] / row["p50_s"])
    assert 0 <= row["percent_waiting"] < 100 and row["compile_s"] > 0 and row["program_total_gb"] > 0
    assert (tmp_path / "deep" / "train.md").read_text().count("\n| ") == 3
    assert (tmp_path / "deep" / "train.png").read_bytes().startswith(b"\x89PNG")


@with_torch
def test_torch_in_pieces_is_torch_at_once(monkeypatch, one_thread):
    import torch
    from training import torch_side

    from cdm_jax.torch_reference.encoder import DEPTHS

    monkeypatch.setitem(DEPTHS, "resnet10", ((1, 1, 1, 1), False))
    # BatchNorm sees the whole batch also where the rest goes in pieces.
    words = ["--config.encoder.name=resnet10", "--config.encoder.width=4", "--config.encoder.features=8"]
    found = []
    for cell in asked("--accumulate=1,4", *words):
        cpu, variables = torch.device("cpu"), random_variables(cell.config)
        model = torch_side.load_model(cell.config, variables, cpu)
        (batch,) = feed.make_batches(cell.config, train_speed.brain_slices(cell.config), kinds=1)
        given = torch_side.on_device({"image": batch.given["image"]} | batch.drawn, cpu)
        loss = torch_side.make_step(cell.config, model, compiled=False)(given)
        found.append((float(loss), torch_side.grad_norm(model), float(model.encoder.bn1.running_mean.sum())))
    assert found[0][1] > 0
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5)


def test_another_first_loss_is_a_mismatch_and_the_check_is_weighed(tmp_path, capsys, monkeypatch):
    def side(loss):
        none = lambda _: None  # noqa: E731
        return clock.Side(itertools.repeat(0), none, none, lambda _: {"loss": loss, "grad_norm": 2.0})

    def turns(both, rounds, steps):
        seconds = {"ours": 3.0, "unchecked": 2.0, "torch": 6.0}
        return {name: [clock.Steps([seconds[name]] * steps, [0.3] * steps)] * rounds for name in both}

    monkeypatch.setattr(measure, "ours", lambda *_, check=True: sides.Ours(side(1.0), 3.0, {"total": 5}))
    monkeypatch.setattr(measure, "theirs", lambda *_: side(1.01))
    monkeypatch.setattr(measure, "take_turns", turns)
    monkeypatch.setattr(train_speed, "step_flops", lambda config: 1.0)
    monkeypatch.setattr(speed_rows, "has_torch", lambda: True)
    file = tmp_path / "train.jsonl"
    assert train_speed.main([*SMALL, "--torch=eager", "--check", f"--json={file}"]) == 1
    (row,) = rows_of(file)
    assert row["status"] == "MISMATCH" and row["grad_norm_difference"] == 0
    assert row["loss_difference"] == pytest.approx(0.01 / 1.01)
    assert (row["times_faster_than_torch"], row["check_percent"]) == (2.0, 50.0)
    assert row["percent_waiting"] == pytest.approx(10)
    told = r"^MISMATCH: demo, float32, batch 4, torch eager: first losses 1, torch's off by 9.9e-03"
    assert re.search(told, capsys.readouterr().err, re.M)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"first_loss": 1.0, "first_grad_norm": 1.0}, "ok"),
        ({"first_loss": float("nan"), "first_grad_norm": 1.0}, "MISMATCH"),
        ({"first_loss": 1.0, "first_grad_norm": float("inf")}, "MISMATCH"),
    ],
)
def test_ours_alone_is_ok_if_it_is_a_number(row, expected):
    assert measure.status(row) == expected


def test_a_failing_cell_is_a_row_and_the_next_one_runs(tmp_path, capsys, monkeypatch):
    def fake(cell, *_, check):
        if cell.config.train.batch == 4:
            raise RuntimeError("out of\nmemory")
        times = {f"p{rank}_s": 0.5 for rank in (10, 50, 90, 99)}
        return times | {"status": "ok", "slices_per_s": 4.0, "percent_of_peak": 9.0}

    monkeypatch.setattr(train_speed, "measure", fake)
    monkeypatch.setattr(train_speed, "step_flops", lambda config: 1.0)
    file = tmp_path / "train.jsonl"
    words = ["--batch=4,2", "--torch=off", f"--json={file}", f"--out={tmp_path / 'there'}"]
    assert train_speed.main([*SMALL, *words]) == 1
    failed, good = rows_of(file)
    assert failed["status"] == "FAILED" and failed["error"] == "RuntimeError: out of memory"
    assert good["status"] == "ok"
    text = (tmp_path / "there" / "train.md").read_text()
    assert "RuntimeError: out of memory" in text and "500 / 500 / 500 / 500" in text
    assert "torch, slices/s" not in text, "a column without a number"
    assert (tmp_path / "there" / "train.png").exists() and "FAILED: " in capsys.readouterr().err
    train_speed.main([*SMALL, *words])
    assert len(rows_of(file)) == 4, "a second run appends"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--preset=huge"], "huge"),
        (["--batch=0"], "--batch.*0"),
        (["--batch=x"], "--batch.*x"),
        (["--rounds=0"], "--rounds.*0"),
        (["--dtype=float16"], "unknown dtype 'float16'.*bfloat16, float32"),
        (["--work=most"], "unknown --work 'most'.*full, same"),
        (["--remat=maybe"], "unknown --remat 'maybe'.*off, on"),
        (["--devices=9"], "9 devices.* 8"),
        (["--devices=3"], "4 slices.*3 devices"),
        (["--devices=4", "--fsdp=3"], "fsdp.*3.*4 devices"),
        (["--accumulate=3"], "4 slices.*3 pieces"),
        (["--torch=jit"], "unknown --torch mode 'jit'.*compile, eager, off"),
        (["--config.model.chanels=8"], "model.channels"),
        (["--what"], "--what"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(words, told, capsys, monkeypatch):
    monkeypatch.setattr(train_speed, "run", lambda *_: pytest.fail("something was run"))
    assert train_speed.main([*SMALL, *words]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and re.search(told, err), err


def test_absent_torch_names_the_extra_only_when_asked_for(capsys, monkeypatch):
    monkeypatch.setattr(speed_rows, "has_torch", lambda: False)
    assert train_speed.main([*SMALL, "--torch=eager"]) == 2
    assert "pip install 'cdm_jax[bench]'" in capsys.readouterr().err
    assert [cell.about["torch"] for cell in asked()] == ["off"]


@with_torch
def test_every_combination_is_a_cell_and_torch_modes_are_one_where_torch_cannot_follow():
    words = ["--work=same,full", "--torch=off,eager,compile", "--dtype=float32,bfloat16", "--devices=1,2",
             "--remat=off,on"]  # fmt: skip
    found = [cell.about for cell in asked(*words)]
    count = {work: sum(about["work"] == work for about in found) for work in ("same", "full")}
    assert count == {"same": 2 * 2 * 2 * 3, "full": 2 * 2 * 2}
    (other,) = asked("--torch=eager", "--config.model.objective=dae")
    assert other.about["torch"] == "off"
    (full,) = asked("--work=full")
    assert full.config.encoder.drop_path > 0
    (same,) = asked("--config.encoder.drop_path=0.2")
    assert same.config.encoder.drop_path == 0


def test_batches_are_of_the_brain_and_come_again_with_the_seed():
    config = asked()[0].config
    brain = Brain(np.random.default_rng(0).random((5, 12, 14), np.float32), np.arange(5), "noise")
    batches = feed.make_batches(config, brain, kinds=2)
    for batch in batches:
        assert batch.given["image"].shape == batch.drawn["eps"].shape == (4, 12, 14, 1)
        assert all((brain.images == image[..., 0]).all(axis=(1, 2)).any() for image in batch.given["image"])
        assert batch.drawn["t"].min() >= 0 and batch.drawn["t"].max() < config.diffusion.timesteps
    assert len({*batches[0].given["id"], *batches[1].given["id"]}) == 8
    again = feed.make_batches(config, brain, kinds=2)
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, batches, again)))


def fake_side(now: list[float], order: list, name: str, ahead: int = 0) -> clock.Side:
    """A step that takes 2 s in the background of the host, which waits 1 s for each batch."""

    def batches():
        while True:
            now[0] += 1.0
            yield name

    busy_until = [0.0]

    def step(batch):
        order.append(batch)
        busy_until[0] = max(busy_until[0], now[0]) + 2.0
        return busy_until[0]

    def wait(done):
        now[0] = max(now[0], done)

    return clock.Side(batches(), step, wait, lambda handle: {}, ahead)


def test_sides_take_turns_and_every_second_of_a_step_is_counted_once():
    now, order = [0.0], []
    both = {name: fake_side(now, order, name) for name in "ab"}
    found = clock.take_turns(both, 2, 3, clock=lambda: now[0])
    assert "".join(order) == "aaabbb" * 2
    assert [steps.seconds for steps in found["a"]] == [[3.0] * 3] * 2, "batch and step, one after the other"
    assert found["b"][0].waited == [1.0] * 3


def test_a_step_queued_ahead_hides_the_wait_for_its_batch():
    now: list[float] = [0.0]
    found = clock.run_steps(fake_side(now, [], "a", ahead=1), 4, clock=lambda: now[0])
    assert found.seconds == [3.0, 2.0, 2.0, 2.0] and sum(found.seconds) == now[0]


def test_the_ratio_of_medians_and_how_much_it_moves_between_rounds():
    above = [clock.Steps([2.0, 4.0, 2.0], []), clock.Steps([6.0, 6.0, 6.0], [])]
    below = [clock.Steps([2.0, 2.0, 2.0], []), clock.Steps([3.0, 3.0, 9.0], [])]
    ratio, spread = clock.ratio(above, below)
    assert ratio == 5.0 / 2.5 and spread == 0.5  # 1 and 2 in the two rounds


def test_rows_are_described_by_what_is_unusual():
    row = {"preset": "paper", "dtype": "bfloat16", "batch": 32, "accumulate": 4, "work": "full", "remat": True,
           "devices": 8, "fsdp": 2, "torch": "off"}  # fmt: skip
    assert report.described(row) == (
        "paper, bfloat16, batch 32 in 4 pieces, all that training does, remat, 8 devices (fsdp 2)"
    )
    plain = row | {"accumulate": 1, "work": "same", "remat": False, "devices": 1, "fsdp": 1, "torch": "eager"}
    assert report.described(plain) == "paper, bfloat16, batch 32, torch eager"


def test_lists_are_taken_apart():
    args = argparse.Namespace(**dict.fromkeys(("work", "dtype", "remat"), "a, b"), torch=None, batch=None,
                              accumulate="1,2,2", devices="1", fsdp="1", rounds=1, steps=1)  # fmt: skip
    found = train_speed.lists(args)
    assert found.work == ["a", "b"] and found.accumulate == (1, 2) and found.batch is None
