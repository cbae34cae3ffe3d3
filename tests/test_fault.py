"""A number that is not finite is found on the device, named, and never saved."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cdm_jax import checkpoint
from cdm_jax.data import pipeline
from cdm_jax.errors import DivergedError
from cdm_jax.fault import NONE, leaf_names
from cdm_jax.objectives.loss import Objective
from cdm_jax.session import status
from cdm_jax.train import train
from cdm_jax.train_state import init_state, make_train_step

IMAGES = 4
STATS = {"mean": jnp.zeros(2)}
PARAMS = {"a": {"scale": jnp.ones(3)}, "b": jnp.full((2, 2), 2.0)}


def objective(params, image):
    """Finite for images in [0, 1]; a's gradient overflows by itself where an image is 1e30."""
    return (params["a"]["scale"].sum() * image + params["b"].sum()).mean(axis=(1, 2, 3))


TOY = Objective(
    lambda params, batch_stats, batch, key, train: (None, batch["image"], batch_stats),
    lambda params, cond, rows, key, train: objective(params, rows),
)


@pytest.fixture(scope="module")
def step():
    return jax.jit(make_train_step(TOY, optax.sgd(0.1), 0.0))


def after(step, *batches, params=PARAMS):
    state = init_state({"params": params, "batch_stats": STATS}, optax.sgd(0.1), jax.random.key(0), IMAGES)
    for image in batches:
        state, _ = step(state, {"image": image})
    return jax.device_get(state.fault), state


def images(bad=None, value=np.nan):
    found = np.full((IMAGES, 2, 2, 1), 0.5, np.float32)
    if bad is not None:
        found[bad, 0, 0] = value
    return found


def test_a_sound_run_has_no_fault(step):
    fault, _ = after(step, images(), images())
    assert fault.step == NONE and not fault.rows.any()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_the_first_bad_step_its_leaf_and_its_images_are_kept(step, value):
    fault, _ = after(step, images(), images(2, value), images(0), images())
    assert fault.step == 2 and leaf_names(PARAMS, STATS)[fault.leaf] == "the loss"
    np.testing.assert_array_equal(fault.rows, [False, False, True, False])


def test_a_gradient_or_a_parameter_is_named(step):
    fault, _ = after(step, images(1, 1e38), params=PARAMS | {"a": {"scale": jnp.zeros(3)}})
    assert leaf_names(PARAMS, STATS)[fault.leaf] == "gradient a/scale" and fault.step == 1
    spoilt = PARAMS | {"b": jnp.array([[1.0, -jnp.inf], [jnp.inf, 1.0]])}
    assert leaf_names(PARAMS, STATS)[after(step, images(), params=spoilt)[0].leaf] == "the loss"

    def huge(params, cond, rows, key, train):
        return jnp.sqrt(jnp.abs(params["b"].sum() - 8)) + 0 * rows.sum((1, 2, 3))  # 0, with an infinite slope

    sharp = jax.jit(make_train_step(replace(TOY, each=huge), optax.sgd(0.1), 0.0))
    fault, _ = after(sharp, images())
    assert leaf_names(PARAMS, STATS)[fault.leaf] == "gradient b" and not fault.rows.any()

    def lost(params, batch_stats, batch, key, train):
        return None, batch["image"], jax.tree.map(lambda leaf: leaf + jnp.inf, batch_stats)

    statistics = jax.jit(make_train_step(replace(TOY, whole=lost), optax.sgd(0.1), 0.0))
    fault, _ = after(statistics, images())
    assert leaf_names(PARAMS, STATS)[fault.leaf] == "statistic mean"

    steep = jax.jit(make_train_step(TOY, optax.sgd(np.inf), 0.0))
    fault, _ = after(steep, images())
    assert leaf_names(PARAMS, STATS)[fault.leaf].startswith("parameter ")


def test_the_check_changes_nothing_else(step):
    _, checked = after(step, images(), images())
    plain = jax.jit(make_train_step(TOY, optax.sgd(0.1), 0.0, check=False))
    _, unchecked = after(plain, images(), images())
    jax.tree.map(np.testing.assert_array_equal, checked.trees, unchecked.trees)


def test_a_run_ends_within_a_logging_interval_and_saves_nothing_of_it(tiny_config, tmp_path, monkeypatch):
    """Step 3 is bad; the run logs every 4 steps, would save at the 4th, and has saved at the 2nd."""
    real = pipeline.slice_dataset

    def spoilt(*inputs, **settings):
        for step, batch in enumerate(real(*inputs, **settings), start=1):
            bad = (step == 3) & (np.arange(IMAGES) == 1)[:, None, None, None]
            yield batch | {"image": np.where(bad, np.float32(np.nan), batch["image"])}

    monkeypatch.setattr(pipeline, "batches", lambda store, start_step, **settings: spoilt(store, **settings))
    config = tiny_config("--config.model.objective=ae", "--config.train.log_every=4", "--config.train.steps=8",
                         "--config.autoencoder.channels=8",
                         "--config.preprocess.shape=(8,8,24)")  # fmt: skip
    with pytest.raises(DivergedError, match=r"step 3: the loss is not finite, on PH\d+ slice \d+; ") as error:
        train(config, tmp_path)
    assert error.value.exit_code == 6
    assert checkpoint.steps(tmp_path) == [2]
    assert status.read(tmp_path)["state"] == "diverged"
