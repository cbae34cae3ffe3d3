"""Reconstruction by DDIM: few steps, random or not as eta asks."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from cdm_jax.diffusion import Denoiser, Noise
from cdm_jax.errors import UsageError
from cdm_jax.samplers.spacing import plan
from cdm_jax.samplers.walk import Level, eps_hat, fresh_noise, move, start, walk
from cdm_jax.schedule import Schedule


def ddim(
    denoise: Denoiser,
    schedule: Schedule,
    noise: Noise,
    key: jax.Array,
    x0: jax.Array,
    *,
    t_start: int = 500,
    steps: int = 50,
    spacing: str = "linear",
    visits: Sequence[int] = (),
    eta: float = 0.0,
    clip: bool = True,
    trajectory: bool = False,
) -> jax.Array | tuple[jax.Array, jax.Array]:
    """x0_hat by steps x_s = signal_s x0_hat + sqrt(sigma_s^2 - std^2) eps_hat + std z.

    Args:
      key: one key an image, [B]; x0: [B,H,W,C] in [-1, 1]; t_start, steps, spacing, visits: as for `plan`.
      eta: share of the ancestral noise; 0 is deterministic, 1 with a step a level is `ddpm`.
      clip: hold x0_hat within [-1, 1].
    Returns: x0_hat like x0, with `trajectory` also x after every step, [S,B,H,W,C].
    Raises: UsageError: negative eta, or what `plan` refuses. Source: Song et al. 2021, DDIM, equations 12, 16.
    """
    if eta < 0:
        raise UsageError(f"eta must not be negative, not {eta}")

    def advance(x_t, x0_hat, here, there, state):
        if eta == 0:
            return move(x_t, x0_hat, here, there), state
        std = _std(eta, here, there)
        eps = jnp.sqrt(there.sigma**2 - std**2) * eps_hat(x_t, x0_hat, here)
        return there.signal * x0_hat + eps + std * fresh_noise(noise, key, here, x_t.shape), state

    path = plan(schedule, t_start, steps, spacing, visits)
    x_t = start(schedule, noise, key, x0, path[0])
    return walk(denoise, schedule, x_t, path, advance, clip=clip, trajectory=trajectory)


def _std(eta: float, here: Level, there: Level) -> jax.Array:
    """eta times the ancestral step's standard deviation, at most all the noise that `there` holds."""
    ancestral = there.sigma / here.sigma * jnp.sqrt(1 - (here.signal / there.signal) ** 2)
    return jnp.minimum(eta * ancestral, there.sigma)
