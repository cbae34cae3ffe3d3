"""Reconstruction by Heun's method on the probability flow: second order, two denoiser calls a step."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from cdm_jax.diffusion import Denoiser, Noise
from cdm_jax.samplers.spacing import plan
from cdm_jax.samplers.walk import eps_hat, move, start, walk
from cdm_jax.schedule import Schedule


def heun(
    denoise: Denoiser,
    schedule: Schedule,
    noise: Noise,
    key: jax.Array,
    x0: jax.Array,
    *,
    t_start: int = 500,
    steps: int = 20,
    spacing: str = "linear",
    visits: Sequence[int] = (),
    clip: bool = True,
    trajectory: bool = False,
) -> jax.Array | tuple[jax.Array, jax.Array]:
    """x0_hat by the trapezoidal rule on dy/dr = eps_hat, where y = x / signal and r = sigma / signal.

    A step on to the clean image is not corrected, so S steps take 2 S - 1 denoiser calls.

    Args:
      key: one key an image, [B]; x0: [B,H,W,C] in [-1, 1]; t_start, steps, spacing, visits: as for `plan`.
      clip: hold x0_hat within [-1, 1].
    Returns: x0_hat like x0, with `trajectory` also x after every step, [S,B,H,W,C].
    Raises: UsageError: what `plan` refuses. Source: Karras et al. 2022, algorithm 1.
    """

    def advance(x_t, x0_hat, here, there, state):
        eps, (last_eps, last_half) = eps_hat(x_t, x0_hat, here), state
        half = (there.sigma - there.signal * here.sigma / here.signal) / 2  # signal_s (r_s - r_t) / 2
        corrected = x_t + last_half * (eps - last_eps)
        x_s = jnp.where(here.n == there.n, corrected, move(x_t, x0_hat, here, there))
        return x_s, (eps, half)

    visited = plan(schedule, t_start, steps, spacing, visits)
    path = _with_corrections(visited)
    x_t = start(schedule, noise, key, x0, path[0])
    state = (jnp.zeros_like(x_t), jnp.zeros((), schedule.signal.dtype))
    walked = walk(denoise, schedule, x_t, path, advance, state, clip=clip, trajectory=trajectory)
    if not trajectory:
        return walked
    x, xs = walked
    finished = np.minimum(2 * np.arange(1, len(visited)), len(path) - 1) - 1
    return x, xs[finished]


def _with_corrections(visited: np.ndarray) -> np.ndarray:
    """The levels with a stay on each that is reached and not clean: there the step before is corrected."""
    path = np.repeat(visited, 2)[1:]
    return path[:-1] if path[-1] == 0 and len(path) > 1 else path
