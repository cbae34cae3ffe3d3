"""Does training follow the published one, step by step?"""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_arrays import array, generator, load, nhwc, weight

from cdm_jax.models.cddpm import CDDPM
from cdm_jax.models.encoders import make_encoder
from cdm_jax.models.unet import UNet
from cdm_jax.noise import NOISES
from cdm_jax.objectives import OBJECTIVES
from cdm_jax.optim import make_optimizer
from cdm_jax.schedule import make_schedule
from cdm_jax.torch_import import from_torch, to_torch
from cdm_jax.train_state import gradients, init_state, update

GOLDEN = load("training_trace")
STEPS = len(GOLDEN["losses"])


def batch(step: int) -> dict:
    """The images, steps and noise of a published training step."""
    return {
        "image": nhwc(array(f"train:x{step}", (4, 1, 32, 32), "uniform")),
        "eps": nhwc(array(f"train:noise{step}", (4, 1, 32, 32))),
        "t": generator(f"input:train:t{step}").integers(0, 1000, 4),
        "id": np.arange(4),
    }


def golden_variables(model: CDDPM) -> dict:
    image, t = jnp.zeros((4, 32, 32, 1)), jnp.zeros(4, jnp.int32)
    template = jax.eval_shape(model.init, jax.random.key(0), image, image, t)
    blank = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), template)
    state = {name: weight(name.split(".", 1)[1], value.shape) for name, value in to_torch(blank).items()}
    return from_torch(state, template)


@cache
@jax.enable_x64(True)
def trace():
    """(losses of all steps, {torch name: gradient} of the first) of our training from the published weights.

    The encoder computes in float64: its last stage normalises over four numbers, which made float32's rounding
    grow to 2e-3 within four steps, whatever the order of summation.
    """
    model = CDDPM(UNet(32, (1, 2, 2), 2, cond_features=64), make_encoder("resnet18", 64, dtype=jnp.float64))
    settings = {"prediction": "x0", "loss": "l1", "p2_gamma": 0.0, "shared": True}
    objective = OBJECTIVES["cddpm"](model, make_schedule(), NOISES["gaussian"], **settings)
    optimizer = make_optimizer(GOLDEN["meta"]["lr"], STEPS)
    key = jax.random.key(0)
    state = init_state(golden_variables(model), optimizer, key, images=4)

    @jax.jit
    def step(state, batch):
        losses, grads, batch_stats = gradients(objective, state, batch, key)
        return update(optimizer, state, grads, batch_stats, 0.0), losses.mean(), grads

    losses, first = [], None
    for number in range(STEPS):
        state, loss, grads = step(state, batch(number))
        losses.append(float(loss))
        first = first or to_torch({"params": jax.device_get(grads)})
    return losses, first


def test_six_steps_of_adam_have_the_published_losses():
    np.testing.assert_allclose(trace()[0], GOLDEN["losses"], rtol=1e-3)


def test_every_gradient_of_the_first_step_has_the_published_norm():
    norms = {name: np.linalg.norm(entry) for name, entry in trace()[1].items()}
    expected = GOLDEN["meta"]["grad_norms_step0"]
    assert norms.keys() == expected.keys()
    for name, norm in expected.items():
        if norm > 1e-6:
            assert norms[name] == pytest.approx(norm, rel=1e-2), name
