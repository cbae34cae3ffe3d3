"""Reconstruction averaged over several noise levels and noise draws."""

from functools import partial

import jax
import jax.numpy as jnp

from cdm_jax.diffusion import Denoiser, Noise
from cdm_jax.samplers.single_step import single_step
from cdm_jax.schedule import Schedule


def members(
    denoise: Denoiser,
    schedule: Schedule,
    noise: Noise,
    key: jax.Array,
    x0: jax.Array,
    *,
    t_starts: tuple[int, ...] = (250, 500, 750),
    draws: int = 1,
) -> jax.Array:
    """Every single-step reconstruction, [len(t_starts) * draws, B,H,W,C], as one batch on the device.

    Each draw of noise serves all noise levels, as in the published code.
    """
    per_image = jax.vmap(jax.random.fold_in, (0, None))
    step = partial(single_step, denoise, schedule, noise)
    per_level = jax.vmap(lambda k, t: step(k, x0, t_start=t), (None, 0))
    keys = jax.vmap(per_image, (None, 0))(key, jnp.arange(draws))
    steps = jax.vmap(per_level, (0, None))(keys, jnp.asarray(t_starts))
    return steps.reshape(-1, *x0.shape)


def ensemble(
    denoise: Denoiser,
    schedule: Schedule,
    noise: Noise,
    key: jax.Array,
    x0: jax.Array,
    *,
    t_starts: tuple[int, ...] = (250, 500, 750),
    draws: int = 1,
) -> jax.Array:
    """Mean of `members` over levels and draws, [B,H,W,C] (Behrendt et al. 2025, section 4.3)."""
    return members(denoise, schedule, noise, key, x0, t_starts=t_starts, draws=draws).mean(axis=0)
