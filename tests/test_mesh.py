"""A training step gives the same on any devices, however the state lies on them and the batch is cut."""

import math
import re
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cdm_jax.configs import default
from jax.flatten_util import ravel_pytree
from jax.sharding import PartitionSpec as P

from cdm_jax.errors import UsageError
from cdm_jax.mesh import AXES, cut_state, devices_for, make_mesh, make_split
from cdm_jax.noise import keys_by_id, simplex
from cdm_jax.pieces import join
from cdm_jax.training.trainer import check_numbers, make_trainer

STEPS, BATCH = 10, 32
ACCUMULATED = {"devices": 2, "accumulate": 4}
CUT = {"devices": 4, "fsdp": 2, "remat": True}
SMALL = (
    "--config.preprocess.shape=(8,8,4)",
    "--config.model.multipliers=(1,)",
    "--config.model.channels=16",
    "--config.encoder.features=8",
    "--config.encoder.name=one_block",
    f"--config.train.batch={BATCH}",
    "--config.train.ema=0.9",
    "--config.augment.gamma=0.5",
)


@pytest.fixture(scope="module")
def run(tiny_config):
    """run(**train settings) -> (losses of ten steps, the last state, the trainer)."""

    @cache
    def steps(**settings):
        words = [f"--config.train.{name}={value}" for name, value in settings.items()]
        trainer = make_trainer(tiny_config(*SMALL, *words))
        state, losses = trainer.init(None), []
        for step in range(STEPS):
            rng = np.random.default_rng(step)
            image = rng.random((BATCH, 8, 8, 1), np.float32)
            batch = {
                "image": image,
                "mask": image > 0.1,
                "id": np.arange(BATCH, dtype=np.int32) + step * BATCH,
            }
            state, metrics = trainer.step(state, trainer.place(batch))
            losses.append(float(metrics["loss"]))
        return losses, state, trainer

    return steps


@pytest.mark.parametrize("settings", [ACCUMULATED, CUT, {"devices": 8}], ids=str)
def test_losses_and_weights_do_not_depend_on_where_a_step_runs(run, settings):
    losses, state, _ = run(**settings)
    expected, alone, _ = run(devices=1)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    assert expected[-1] < expected[0]
    for tree in ("batch_stats", "params", "ema"):
        ours, theirs = (ravel_pytree(jax.device_get(getattr(each, tree)))[0] for each in (state, alone))
        assert jnp.linalg.norm(ours - theirs) < 1e-3 * jnp.linalg.norm(theirs)  # Adam enlarges rounding


def test_every_leaf_lies_where_it_should(run):
    _, state, trainer = run(**CUT)
    assert trainer.mesh.shape == {"data": 2, "fsdp": 2}
    cut = 0
    for path, leaf in jax.tree_util.tree_leaves_with_path(
        (state.params, state.ema, state.opt_state, state.batch_stats)
    ):
        shard = leaf.addressable_shards[0].data.shape
        wanted = leaf.size >= 4096 and any(size % 2 == 0 for size in leaf.shape)
        longest = max((size for size in leaf.shape if size % 2 == 0), default=0)
        assert (
            shard.count(longest // 2) > leaf.shape.count(longest // 2) if wanted else shard == leaf.shape
        ), path
        assert len(leaf.addressable_shards) == 4
        cut += wanted
    assert cut >= 4  # of parameters, average, both moments of Adam
    assert all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(run(devices=8)[1]))
    blank = np.zeros((BATCH, 8, 8, 1), np.float32)
    image = trainer.place({"image": blank, "mask": blank > 0, "id": np.arange(BATCH)})["image"]
    assert image.sharding.spec == P(AXES) and {s.data.shape[0] for s in image.addressable_shards} == {8}


def test_a_state_cut_over_devices_takes_less_of_each(run):
    whole, cut = (run(**settings)[1] for settings in ({"devices": 8}, CUT))

    def on_first(state):
        return sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(state.opt_state))

    assert on_first(cut) < 0.7 * on_first(whole)


def test_a_device_computes_its_share_alone(run):
    def flops(trainer):
        return trainer.step.lower(trainer.abstract, trainer.abstract_batch).compile().cost_analysis()["flops"]

    alone, shared = (flops(run(devices=devices)[2]) for devices in (1, 8))
    assert shared < 1.1 * alone / 8


@pytest.mark.parametrize("devices", [2, 4, 8])
def test_noise_is_bit_equal_on_a_mesh(devices):
    mesh = make_mesh(jax.devices()[:devices])
    draw = jax.jit(lambda ids: simplex(keys_by_id(jax.random.key(0), ids), (16, 8, 8, 1), octaves=2))
    ids = np.arange(16)
    placed = jax.device_put(ids, jax.NamedSharding(mesh, P(AXES)))
    np.testing.assert_array_equal(draw(placed), draw(ids))


def test_a_piece_has_rows_of_every_device_and_all_come_back():
    mesh = make_mesh(jax.devices()[:4])
    rows = jax.device_put(jnp.arange(16.0), jax.NamedSharding(mesh, P(AXES)))
    parts = jax.jit(make_split(mesh, 2))(rows)
    assert parts.shape == (2, 8) and {s.data.shape for s in parts.addressable_shards} == {(2, 2)}
    np.testing.assert_array_equal(join(parts), rows)


def test_axes_are_cut_by_length_and_small_leaves_are_not():
    mesh = make_mesh(jax.devices()[:4], 4)
    shapes = {"long": (3, 128, 64), "odd": (127, 63), "small": (64,), "tie": (64, 64)}
    found = cut_state(
        mesh, {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes.items()}
    )
    specs = {name: sharding.spec for name, sharding in found.items()}
    assert specs == {"long": P(None, "fsdp"), "odd": P(), "small": P(), "tie": P(None, "fsdp")}


@pytest.mark.parametrize(
    ("key", "values", "range_"),
    [
        *[(key, (0, -1), "at least 1") for key in ("steps", "batch", "fsdp", "accumulate", "log_every", "eval_every")],
        *[(key, (-1,), "0 or more") for key in ("warmup", "devices", "save_every", "keep_best")],
        *[(key, (-0.1, math.nan, math.inf), "0 or more") for key in ("lr", "weight_decay", "clip")],
        ("ema", (-0.1, 1.0, math.nan), "at least 0, less than 1"),
        ("betas", ((0.9, 1.0), (-0.1, 0.9), (math.nan, 0.9), (0.9,)), "two numbers, each at least 0, less than 1"),
    ],
)  # fmt: skip
def test_a_number_out_of_range_is_refused_by_name(key, values, range_):
    config = default.get_config()
    for value in values:
        config.train[key] = value
        with pytest.raises(UsageError, match=re.escape(f"config.train.{key}: {value}; it must be {range_}")):
            make_trainer(config)


def test_numbers_at_the_edge_of_their_range_are_taken():
    config = default.get_config()
    config.train.update(dict.fromkeys(("steps", "batch", "fsdp", "accumulate", "log_every", "eval_every"), 1))
    config.train.update(lr=0.0, weight_decay=0.0, clip=0.0, ema=0.0, betas=(0.0, 0.0), keep_best=0, warmup=0)
    check_numbers(config)


def test_numbers_that_do_not_fit_are_refused(tiny_config):
    assert len(devices_for(6)) == 6 and len(devices_for(7)) == 7 and len(devices_for(5, 1)) == 1
    for settings, message in {
        ("devices=9",): "9 devices asked for, but there are 8",
        ("devices=3",): "batch: 4 slices cannot be shared by 3 devices",
        ("devices=4", "fsdp=3"): "fsdp: 3 is no divisor of 4 devices",
        ("devices=2", "accumulate=4"): "4 slices cannot be cut into 4 pieces on 2 devices",
    }.items():
        with pytest.raises(UsageError, match=message):
            make_trainer(tiny_config(*(f"--config.train.{word}" for word in settings)))
    with pytest.raises(UsageError, match="'spark' normalises over the batch"):
        make_trainer(tiny_config("--config.model.objective=spark", "--config.preprocess.shape=(64,32,4)",
                                 "--config.train.accumulate=2"))  # fmt: skip
    with pytest.raises(UsageError, match="remat: AE has no blocks"):
        make_trainer(tiny_config("--config.model.objective=ae", "--config.train.remat=True"))
