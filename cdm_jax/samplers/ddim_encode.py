"""Reconstruction without noise: the image is carried up the probability flow, then down again."""

from collections.abc import Sequence

import jax
import numpy as np

from cdm_jax.diffusion import Denoiser, Noise
from cdm_jax.samplers.spacing import plan
from cdm_jax.samplers.walk import move, walk
from cdm_jax.schedule import Schedule


def ddim_encode(
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
    clip: bool = True,
    trajectory: bool = False,
) -> jax.Array | tuple[jax.Array, jax.Array]:
    """x0_hat by deterministic DDIM steps from x0 up to t_start and back to 0; `noise` and `key` are not used.

    Args:
      x0: [B,H,W,C] in [-1, 1]; t_start, steps, spacing, visits: as for `plan`, the way down.
      clip: hold x0_hat within [-1, 1].
    Returns: x0_hat like x0, with `trajectory` also x after every step up and down, [2S,B,H,W,C].
    Raises: UsageError: what `plan` refuses. Source: Song et al. 2021, DDIM, section 4.3; for anomalies Wolleb
      et al. 2022, algorithm 1.
    """
    down = plan(schedule, t_start, steps, spacing, visits)
    path = np.concatenate([_up(down), down[1:]])
    return walk(denoise, schedule, x0, path, _advance, clip=clip, trajectory=trajectory)


def encode(denoise: Denoiser, schedule: Schedule, x0: jax.Array, visits: Sequence[int], clip: bool = True):
    """x_t[B,H,W,C] at level visits[0], the way up alone."""
    return walk(denoise, schedule, x0, _up(np.asarray(visits)), _advance, clip=clip)


def _up(down: np.ndarray) -> np.ndarray:
    """The levels from below; x0 stands on level 1, the lowest that a denoiser knows."""
    return np.unique(np.maximum(down, 1))


def _advance(x_t, x0_hat, here, there, state):
    return move(x_t, x0_hat, here, there), state
