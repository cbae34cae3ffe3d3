"""Reconstruction by DPM-Solver++(2M): second order with one denoiser call a step."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from cdm_jax.diffusion import Denoiser, Noise
from cdm_jax.samplers.spacing import plan
from cdm_jax.samplers.walk import Level, move, start, walk
from cdm_jax.schedule import Schedule


def dpm_solver(
    denoise: Denoiser,
    schedule: Schedule,
    noise: Noise,
    key: jax.Array,
    x0: jax.Array,
    *,
    t_start: int = 500,
    steps: int = 20,
    spacing: str = "log_snr",
    visits: Sequence[int] = (),
    clip: bool = True,
    trajectory: bool = False,
) -> jax.Array | tuple[jax.Array, jax.Array]:
    """x0_hat by steps towards x0_hat extrapolated from this call of the denoiser and the last.

    The first step, and a last one that ends on the clean image, are of first order.

    Args:
      key: one key an image, [B]; x0: [B,H,W,C] in [-1, 1]; t_start, steps, spacing, visits: as for `plan`.
      clip: hold x0_hat within [-1, 1], before it is extrapolated.
    Returns: x0_hat like x0, with `trajectory` also x after every step, [S,B,H,W,C].
    Raises: UsageError: what `plan` refuses. Source: Lu et al. 2022, DPM-Solver++, algorithm 2.
    """

    def advance(x_t, x0_hat, here, there, state):
        last_x0_hat, last_h = state
        h = _log_snr(there) - _log_snr(here)
        weight = jnp.where(there.sigma > 0, h / (2 * last_h), 0)
        towards = x0_hat + weight * (x0_hat - last_x0_hat)
        return move(x_t, towards, here, there), (x0_hat, h)

    path = plan(schedule, t_start, steps, spacing, visits)
    x_t = start(schedule, noise, key, x0, path[0])
    nothing_before = (jnp.zeros_like(x_t), jnp.full((), jnp.inf, schedule.signal.dtype))
    return walk(denoise, schedule, x_t, path, advance, nothing_before, clip=clip, trajectory=trajectory)


def _log_snr(level: Level) -> jax.Array:
    """lambda = log(signal / sigma), infinite for the clean image."""
    return jnp.log(level.signal) - jnp.log(level.sigma)
