"""What a dry run tells is what the closed forms say."""

import argparse
import re
import sys
from functools import cache
from pathlib import Path

import jax
import numpy as np
import pytest

from cdm_jax import config as configs
from cdm_jax import dry_run as dry
from cdm_jax import methods
from cdm_jax.cli import train as cli
from cdm_jax.errors import UsageError
from cdm_jax.training.trainer import Trainer, make_trainer

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import scaling  # noqa: E402

SMALL = (
    "--config.preprocess.shape=(12,16,12)",
    "--config.model.objective=ae",
    "--config.autoencoder.channels=32",
    "--config.autoencoder.multipliers=(1,1)",
    "--config.autoencoder.latent=16",
    "--config.train.batch=4",
    "--config.train.steps=100",
)
PIXELS = 12 * 16


def load(*words: str):
    return configs.load("configs/demo.py", [*SMALL, *words])


@cache
def found(devices: int, fsdp: int = 1) -> tuple[Trainer, dry.Cost]:
    trainer = make_trainer(load(f"--config.train.devices={devices}", f"--config.train.fsdp={fsdp}"))
    return trainer, dry.cost(trainer)


def test_bytes_are_those_of_float32_parameters_and_adam():
    trainer, cost = found(1)
    sizes = [leaf.size for leaf in jax.tree.leaves(trainer.abstract.params)]
    encoder = sum(leaf.size for leaf in jax.tree.leaves(trainer.abstract.params["encoder"]))
    assert cost.parameters == {"all": sum(sizes), "encoder": encoder}
    assert cost.held["parameters"] == cost.held["average"] == 4 * sum(sizes)
    counters = cost.held["optimiser"] - 8 * sum(sizes)  # beside two moments
    assert 0 < counters <= 16
    assert cost.held["batch"] == 4 * (PIXELS * (4 + 1) + 4)
    # A checkpoint: all of that but the batch; and the step, a key of two words.
    assert cost.checkpoint == sum(cost.held.values()) - cost.held["batch"] + 4 + 8


def test_the_compiled_step_holds_the_state_once():
    _, cost = found(1)
    state = cost.checkpoint
    mask = 4 * PIXELS  # which an autoencoder does not read
    assert cost.program["argument"] == pytest.approx(state + cost.held["batch"] - mask, abs=64)
    assert cost.program["alias"] == pytest.approx(state, abs=64), "the new state takes the old one's place"
    assert cost.program["total"] > state + cost.program["temp"]
    assert cost.exchanged == {}, "one device has nobody to talk to"


def test_cutting_the_state_halves_what_a_device_holds():
    (whole, copied), (_, cut) = found(1), found(2, 2)
    small = sum(4 * leaf.size for leaf in jax.tree.leaves(whole.abstract.params) if leaf.size < 4096)
    for name in ("parameters", "average"):
        assert cut.held[name] == (copied.held[name] - small) / 2 + small
    assert cut.held["batch"] == copied.held["batch"] / 2
    saved = sum(copied.held.values()) - sum(cut.held.values())
    assert copied.program["argument"] - cut.program["argument"] == pytest.approx(saved, abs=4 * PIXELS)
    assert cut.program["argument"] < 0.75 * copied.program["argument"]
    assert (cut.checkpoint, cut.flops, cut.parameters) == (copied.checkpoint, copied.flops, copied.parameters)
    assert cut.exchanged, "cut parameters are gathered and their gradients summed"


def test_a_denoisers_arithmetic_is_three_times_that_of_its_convolutions_and_attention():
    """Two thirds of a pass there and back are the gradients, by inputs and by weights."""
    words = ["model.objective=cddpm", "encoder.name=none", "preprocess.shape=(48,48,12)", "model.channels=16",
             "model.multipliers=(1,)", "model.blocks=1"]  # fmt: skip
    config = load(*(f"--config.{word}" for word in words))
    shapes = jax.tree_util.tree_leaves_with_path(methods.variable_shapes(config)["params"])
    kernels = [leaf.shape for _, leaf in shapes if leaf.ndim == 4]
    tokens, channels = 48 * 48, 16
    forward = tokens * sum(2 * np.prod(shape) for shape in kernels) + 4 * tokens**2 * channels
    assert dry.step_flops(config) == pytest.approx(3 * 4 * forward, rel=0.1)


def test_neither_pieces_nor_remat_change_the_arithmetic_that_is_needed():
    again = load("--config.train.remat=True", "--config.train.accumulate=2")
    assert dry.step_flops(again) == found(1)[1].flops
    assert again.train.remat, "the caller's config stays"


def test_collectives_are_summed_by_kind():
    text = """
      %a = f32[10,2]{1,0} all-reduce(f32[10,2]{1,0} %x), replica_groups={}
      %b = (bf16[4]{0}, s32[]) all-reduce(%y, %z)
      %c = (f32[2]{0}, f32[8]{0}) all-gather-start(f32[2]{0} %x)
      %d = f32[8]{0} all-gather-done(%c)
      %e = f32[7]{0} add(%all-reduce.1, %x)
    """
    assert dry.exchanged_bytes(text) == {"all-reduce": 80 + 8 + 4, "all-gather": 32}


def test_the_expected_time_is_arithmetic_over_rate():
    rate, hours = dry.expected(2e12, 7200, 4, 100.0, share=0.5)
    assert rate == 4 * 100e12 * 0.5 / 2e12 and hours == 7200 / 100 / 3600


def test_the_lines_tell_each_number_once_computed(monkeypatch):
    trainer, cost = found(2, 2)
    monkeypatch.setattr(dry, "cost", lambda _: cost)
    text = "\n".join(dry.dry_run(trainer, peak_tflops=0.001))
    assert re.search(rf"model: AE, {cost.parameters['all'] / 1e6:.2f} M parameters \(encoder ", text)
    assert "devices: 2 (cpu), data 1 x fsdp 2; state cut in 2" in text
    assert "process 0 of 1 reads rows 0 ... 3 of each batch; 2 a device" in text
    rate, _ = dry.expected(cost.flops, 100, 2, 0.001)
    assert f"time: {rate:.3g} steps/s" in text and "at 50% of 2 x 0.001 TFLOP/s" in text and "assumed" in text
    assert "give --peak" in "\n".join(dry.dry_run(trainer))


@pytest.mark.parametrize("peak", ["0", "-3", "nan", "inf"])
def test_a_peak_that_is_none_is_refused(peak):
    parser = argparse.ArgumentParser()
    cli.add_arguments(parser)
    given = parser.parse_args(["--config=configs/demo.py", "--dry-run", f"--peak={peak}"])
    given.overrides = []
    with pytest.raises(UsageError, match=f"--peak: {peak}; it must be more than 0"):
        cli.run(given)


@pytest.mark.parametrize("name", ["cddpm", "cddpm_both", "cddpm_cross", "ddpm", "pddpm", "spark"])
def test_the_minutes_in_a_configs_header_are_those_of_the_share_assumed(name):
    text = " ".join((Path("configs") / f"{name}.py").read_text().split('"""')[1].split())
    flops, minutes = map(
        float, re.search(r"Cost: (\d+) GFLOP .* ([\d.]+) minutes on one H200", text).groups()
    )
    assert "at half of 790 bfloat16 TFLOP/s (assumed, not measured)" in text and dry.SHARE == 0.5
    settings = configs.load(f"configs/{name}.py").train
    _, hours = dry.expected(settings.batch * flops * 1e9, settings.steps, 1, 790)
    assert minutes == round(60 * hours, 1)


@pytest.mark.parametrize(
    ("size", "told"), [(0, "0 bytes"), (999, "999 bytes"), (274_477_316, "274 MB"), (10**15, "1e+03 TB")]
)
def test_sizes_are_told_in_decimal_units(size, told):
    assert dry.in_bytes(size) == told


@pytest.mark.parametrize(("hours", "told"), [(2.5, "2.5 hours"), (0.2, "12 minutes"), (0.001, "3.6 seconds")])
def test_times_are_told_in_the_unit_that_fits(hours, told):
    assert dry.duration(hours) == told


def test_the_scaling_tables_are_what_the_formulas_give():
    text = scaling.DOC.read_text()
    assert scaling.with_tables(text, scaling.PAPER) == text, "run benchmarks/scaling.py --write"
    assert all(f"<!-- {name} -->\n| devices" in text for name in scaling.tables(scaling.PAPER))


def test_the_papers_parameters_are_those_of_the_scaling_tables():
    shapes = methods.variable_shapes(configs.load("configs/default.py"))["params"]
    counts = dry.parameter_counts(shapes)
    assert counts["all"] == scaling.PAPER.parameters == counts["UNet"] + counts["encoder"]
    assert (
        f"UNet {counts['UNet'] / 1e6:.2f} M, encoder {counts['encoder'] / 1e6:.2f} M"
        in scaling.DOC.read_text()
    )


@pytest.mark.slow
def test_the_papers_arithmetic_is_that_of_the_scaling_tables():
    assert scaling.counted().flops == pytest.approx(scaling.PAPER.flops, rel=1e-3)


def test_a_row_of_the_scaling_tables_by_hand():
    """32 slices on 16 devices: two hosts of 8, two slices each."""
    row = scaling.row(scaling.PAPER, scaling.HARDWARE["fast"], 16, 32)
    gradients = 4 * 68_619_329
    by_hand = 1e3 * (2 * 443e9 / 395e12 + 7 * gradients / 4.3e12)
    assert row["compute"] == pytest.approx(by_hand, rel=1e-4)
    within, between = 7 / 8 * gradients / 360e9, 1 / 2 * gradients / 8 / 45e9
    assert row["exchange"] == pytest.approx(1e3 * (2 * (within + between) + 2 * 4 * 5e-6))
    assert row["norms"] == pytest.approx(1e3 * 204 * 8 * 5e-6)
    assert row["wait"] == pytest.approx(row["norms"] + row["exchange"] - 2 / 3 * row["compute"])
    assert row["sent"] == pytest.approx(2 * 15 / 16 * gradients / 1e6)
    assert row["sent_cut"] == pytest.approx(1.5 * row["sent"])
    one = scaling.row(scaling.PAPER, scaling.HARDWARE["fast"], 1, 32)
    assert row["efficiency"] == pytest.approx(row["rate"] / 16 / one["rate"])
    assert one["minutes"] == pytest.approx(14_400 * one["compute"] / 60_000)
