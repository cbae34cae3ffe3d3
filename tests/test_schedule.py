"""The noise schedule equals the published buffers, and x0 <-> eps are inverses."""

import jax.numpy as jnp
import numpy as np
import pytest
from golden_arrays import array, load

from cdm_jax.errors import UsageError
from cdm_jax.objectives.noising import p2_weight
from cdm_jax.schedule import cosine_betas, eps_from_x0, linear_betas, make_schedule, snr, x0_from_eps

GOLDEN = load("schedules")


@pytest.mark.parametrize(
    ("ours", "name"), [(cosine_betas(1000), "cosine_betas"), (linear_betas(1000), "linear_betas")]
)
def test_betas_in_float64(ours, name):
    np.testing.assert_allclose(ours, GOLDEN[name], rtol=1e-9)


PUBLISHED = {
    "betas_f32": lambda s: s.betas,
    "alphas_cumprod": lambda s: s.alpha_bar,
    "alphas_cumprod_prev": lambda s: np.append(1, s.alpha_bar[:-1]),
    "sqrt_alphas_cumprod": lambda s: s.signal,
    "sqrt_one_minus_alphas_cumprod": lambda s: s.sigma,
    "log_one_minus_alphas_cumprod": lambda s: 2 * np.log(s.sigma),
    "sqrt_recip_alphas_cumprod": lambda s: 1 / s.signal,
    "sqrt_recipm1_alphas_cumprod": lambda s: s.sigma / s.signal,
    "posterior_variance": lambda s: s.posterior_variance,
    "posterior_log_variance_clipped": lambda s: np.log(np.maximum(s.posterior_variance, 1e-20)),
    "posterior_mean_coef1": lambda s: s.posterior_x0,
    "posterior_mean_coef2": lambda s: s.posterior_x_t,
    "p2_loss_weight": lambda s: p2_weight(s, jnp.arange(1000), gamma=0.0),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_buffer_follows(name):
    expected = GOLDEN[f"cosine_{name}"]
    np.testing.assert_allclose(PUBLISHED[name](make_schedule()), expected, rtol=1e-6, atol=2e-7)


def test_eps_and_x0_are_inverses():
    schedule, t = make_schedule(), jnp.array([0, 250, 500, 900])
    x_t, eps = array("s:x", (4, 8, 8, 1)), array("s:e", (4, 8, 8, 1))
    x0 = x0_from_eps(schedule, x_t, t, eps)
    np.testing.assert_allclose(eps_from_x0(schedule, x_t, t, x0), eps, rtol=1e-3, atol=1e-3)
    assert np.all(np.diff(snr(schedule, jnp.arange(1000))) < 0)


def test_an_unknown_name_lists_the_known():
    with pytest.raises(UsageError, match="cosine, linear"):
        make_schedule("cosin")
