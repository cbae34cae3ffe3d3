"""Reconstruction by one denoising step from a fixed noise level."""

import jax
import jax.numpy as jnp

from cdm_jax.diffusion import Denoiser, Noise, q_sample
from cdm_jax.schedule import Schedule


def single_step(
    denoise: Denoiser, schedule: Schedule, noise: Noise, key: jax.Array, x0: jax.Array, *, t_start: int = 500
) -> jax.Array:
    """x0_hat = denoise(x_t, t) with x_t drawn from q(x_t | x0) after `t_start` noising steps.

    Args:
      key: one key an image, [B]; x0: [B,H,W,C] in [-1, 1].
      t_start: 1 ... T noising steps, so step index t_start - 1; 0 returns x0 unchanged.
    Returns: x0_hat like x0. Source: Behrendt et al. 2025, section 3.3.
    """
    eps = noise(key, x0.shape)
    t = jnp.full(x0.shape[:1], t_start - 1)
    index = jnp.maximum(t, 0)
    x0_hat = denoise(q_sample(schedule, x0, index, eps), index)
    return jnp.where(jnp.asarray(t_start) == 0, x0, x0_hat)
