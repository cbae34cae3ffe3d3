"""Reconstruction by one denoising step from a fixed noise level."""

import jax
import jax.numpy as jnp

from cdm_jax.diffusion import Denoiser, Noise, q_sample
from cdm_jax.samplers.spacing import check_start
from cdm_jax.schedule import Schedule


def single_step(
    denoise: Denoiser,
    schedule: Schedule,
    noise: Noise,
    key: jax.Array,
    x0: jax.Array,
    *,
    t_start: int = 500,
    trajectory: bool = False,
) -> jax.Array | tuple[jax.Array, jax.Array]:
    """x0_hat = denoise(x_t, t) with x_t drawn from q(x_t | x0) after `t_start` noising steps.

    Args:
      key: one key an image, [B]; x0: [B,H,W,C] in [-1, 1].
      t_start: 1 ... T noising steps, so step index t_start - 1; 0 returns x0 unchanged.
    Returns: x0_hat like x0, not clipped; with `trajectory` also [1,B,H,W,C], the same.
    Raises: UsageError: t_start out of range. Source: Behrendt et al. 2025, section 3.3.
    """
    check_start(schedule, t_start)
    x0_hat = from_level(denoise, schedule, noise, key, x0, jnp.asarray(t_start))
    return (x0_hat, x0_hat[None]) if trajectory else x0_hat


def from_level(
    denoise: Denoiser, schedule: Schedule, noise: Noise, key: jax.Array, x0: jax.Array, n: jax.Array
) -> jax.Array:
    """`single_step` from level n, a scalar array that may be traced."""
    index = jnp.full(x0.shape[:1], jnp.maximum(n - 1, 0))
    x0_hat = denoise(q_sample(schedule, x0, index, noise(key, x0.shape)), index)
    return jnp.where(n == 0, x0, x0_hat)
