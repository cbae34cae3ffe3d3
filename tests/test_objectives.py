"""Losses and one-step reconstructions equal the published code's for every objective."""

import itertools
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_arrays import array, load, nhwc, relative_error
from golden_models import golden_unet, golden_variables
from hypothesis import given, settings
from hypothesis import strategies as st

from cdm_jax.diffusion import TARGETS, X0_FROM, bind_denoiser, q_sample, to_model_range
from cdm_jax.errors import UsageError
from cdm_jax.noise import NOISES
from cdm_jax.objectives.noising import diffusion_loss, draw_noising, noised
from cdm_jax.reconstruct import make_reconstruct
from cdm_jax.samplers import SAMPLERS
from cdm_jax.schedule import make_schedule

GOLDEN = load("diffusion_loss")
SCHEDULE = make_schedule()
IMAGE = nhwc(array("loss:x0", (4, 1, 32, 32), "uniform"))
EPS = nhwc(array("loss:noise", (4, 1, 32, 32)))
COND = array("loss:cond", (4, 64))


@cache
def golden_predict():
    network = golden_unet(GOLDEN["meta"]["unet"])
    variables = golden_variables(network, IMAGE, jnp.zeros(4, jnp.int32), COND)
    return jax.jit(lambda x_t, t: network.apply(variables, x_t, t, COND))


@pytest.mark.parametrize(
    ("prediction", "loss", "gamma", "t"),
    itertools.product(("x0", "noise"), ("l1", "l2"), (0.0, 0.5), (0, 249, 499, 999)),
)
def test_loss_equals_the_published_one(prediction, loss, gamma, t):
    t, expected = jnp.full(4, t), GOLDEN[f"pred_{prediction}_{loss}_g{gamma}_t{t}_loss"]
    x_t, target = noised(SCHEDULE, IMAGE, t, EPS, "eps" if prediction == "noise" else "x0")
    losses = diffusion_loss(SCHEDULE, golden_predict()(x_t, t), target, t, loss=loss, p2_gamma=gamma)
    assert float(losses.mean()) == pytest.approx(float(expected), rel=1e-4)


class Golden:
    """Stands for a model: the golden network without an encoder."""

    def apply(self, variables, *inputs, method):
        return None if method == "encode" else golden_predict()(*inputs[:2])


@pytest.mark.parametrize(("prediction", "t"), itertools.product(("x0", "eps_published"), (0, 249, 499, 999)))
def test_single_step_reconstruction_equals_the_published_one(prediction, t):
    image_hat = single_step(prediction, t)
    name = "x0" if prediction == "x0" else "noise"
    assert relative_error(image_hat, nhwc(GOLDEN[f"pred_{name}_t{t}_reco"])) < 1e-4


@pytest.mark.parametrize("t", [0, 249, 499])
def test_the_published_noise_reconstruction_is_ours_dimmed_by_the_signal(t):
    ours, published = (to_model_range(single_step(name, t)) for name in ("eps", "eps_published"))
    assert relative_error(ours * SCHEDULE.signal[t], published) < 1e-4


def single_step(prediction, t):
    reconstruct = make_reconstruct(
        Golden(),
        SCHEDULE,
        lambda key, shape: EPS,
        SAMPLERS["single_step"],
        prediction=prediction,
        t_start=t + 1,
    )
    return reconstruct({}, jax.random.split(jax.random.key(0), 4), jnp.asarray(IMAGE))


def test_the_ensemble_is_the_mean_of_its_single_steps():
    denoise = bind_denoiser(golden_predict(), SCHEDULE, "x0")
    key = jax.random.split(jax.random.key(0), 4)
    x0 = to_model_range(jnp.asarray(IMAGE))
    sample = partial(SAMPLERS["single_step"], denoise, SCHEDULE, lambda key, shape: EPS, key, x0)
    mean = sum(sample(t_start=t) for t in (250, 500, 750)) / 3
    ensemble = SAMPLERS["ensemble"](denoise, SCHEDULE, lambda key, shape: EPS, key, x0)
    assert relative_error(ensemble, mean) < 1e-4


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 1000), st.sampled_from(["single_step", "ensemble"]), st.integers(0, 2**31))
def test_an_oracle_denoiser_gives_back_x0(t_start, name, seed):
    x0 = jnp.asarray(array("oracle", (2, 8, 8, 1)))
    start = {"t_start": t_start} if name == "single_step" else {"t_starts": (t_start,), "draws": 2}
    key = jax.random.split(jax.random.key(seed), 2)
    found = SAMPLERS[name](lambda x_t, t: x0, SCHEDULE, NOISES["gaussian"], key, x0, **start)
    np.testing.assert_allclose(found, x0, atol=1e-6)


def test_no_noise_is_the_identity():
    x0 = jnp.asarray(array("oracle", (2, 8, 8, 1)))
    key = jax.random.split(jax.random.key(0), 2)
    noise = NOISES["gaussian"]
    found = SAMPLERS["single_step"](lambda x_t, t: 0 * x_t, SCHEDULE, noise, key, x0, t_start=0)
    np.testing.assert_array_equal(found, x0)


@pytest.mark.parametrize("prediction", ["x0", "eps", "v"])
def test_every_prediction_is_translated_and_back(prediction):
    x0, t = to_model_range(jnp.asarray(IMAGE)), jnp.array([10, 300, 600, 900])
    x_t = q_sample(SCHEDULE, x0, t, EPS)
    target = TARGETS[prediction](SCHEDULE, x0, t, EPS)
    np.testing.assert_allclose(X0_FROM[prediction](SCHEDULE, x_t, t, target), x0, atol=2e-4)


def test_the_noising_of_an_image_does_not_depend_on_its_batch():
    key, noise = jax.random.key(3), NOISES["simplex"]
    batch = {"id": jnp.arange(6), "image": jnp.zeros((6, 16, 16, 1))}
    part = {"id": batch["id"][2:4], "image": batch["image"][2:4]}
    (t, eps), (t_part, eps_part) = (draw_noising(SCHEDULE, noise, key, b, False) for b in (batch, part))
    np.testing.assert_array_equal(t[2:4], t_part)
    np.testing.assert_array_equal(eps[2:4], eps_part)
    assert len(np.unique(np.asarray(eps), axis=0)) == 6
    shared = draw_noising(SCHEDULE, noise, key, batch, True)[1]
    assert len(np.unique(np.asarray(shared), axis=0)) == 1


def test_unknown_names_list_the_known():
    with pytest.raises(UsageError, match="eps, eps_published, v, x0"):
        bind_denoiser(golden_predict(), SCHEDULE, "noise")
