"""Reconstruction by ancestral sampling: one random step for every noising step."""

import jax
import jax.numpy as jnp
import numpy as np

from cdm_jax.diffusion import Denoiser, Noise
from cdm_jax.samplers.spacing import check_start
from cdm_jax.samplers.walk import fresh_noise, start, walk
from cdm_jax.schedule import Schedule


def ddpm(
    denoise: Denoiser,
    schedule: Schedule,
    noise: Noise,
    key: jax.Array,
    x0: jax.Array,
    *,
    t_start: int = 500,
    clip: bool = True,
    trajectory: bool = False,
) -> jax.Array | tuple[jax.Array, jax.Array]:
    """x0_hat after t_start steps of x_{t-1} ~ q(x_{t-1} | x_t, x0_hat), with fresh noise at each.

    Args:
      key: one key an image, [B]; x0: [B,H,W,C] in [-1, 1]; t_start: 0 ... T noising steps.
      clip: hold x0_hat within [-1, 1].
    Returns: x0_hat like x0, with `trajectory` also x after every step, [S,B,H,W,C].
    Raises: UsageError: t_start out of range. Source: Ho et al. 2020, equations 6 and 7, algorithm 2; from a
      noised image as in Wyatt et al., AnoDDPM, CVPR Workshops 2022.
    """
    check_start(schedule, t_start)

    def advance(x_t, x0_hat, here, there, state):
        t = here.n - 1
        mean = schedule.posterior_x0[t] * x0_hat + schedule.posterior_x_t[t] * x_t
        std = jnp.sqrt(schedule.posterior_variance[t])
        return mean + std * fresh_noise(noise, key, here, x_t.shape), state

    path = np.arange(t_start, -1, -1)
    x_t = start(schedule, noise, key, x0, t_start)
    return walk(denoise, schedule, x_t, path, advance, clip=clip, trajectory=trajectory)
