"""How does a sampler get from one noise level to the next?"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cdm_jax.diffusion import Denoiser, Noise, q_sample
from cdm_jax.schedule import Schedule


class Level(NamedTuple):
    """A noise level: x = signal x0 + sigma eps after n noising steps. Scalars, or arrays of one length."""

    n: jax.Array
    signal: jax.Array
    sigma: jax.Array


Advance = Callable[[jax.Array, jax.Array, Level, Level, Any], tuple[jax.Array, Any]]
"""advance(x_t, x0_hat, here, there, state) -> (x_s, state): from the level `here` to the level `there`."""


def levels(schedule: Schedule, path: np.ndarray) -> Level:
    """The levels n[S] of the schedule; n = 0 is the clean image, signal 1 and sigma 0."""
    signal = jnp.append(jnp.ones_like(schedule.signal[:1]), schedule.signal)
    sigma = jnp.append(jnp.zeros_like(schedule.sigma[:1]), schedule.sigma)
    return Level(jnp.asarray(path, jnp.int32), signal[path], sigma[path])


def start(schedule: Schedule, noise: Noise, key: jax.Array, x0: jax.Array, n: int) -> jax.Array:
    """x0[B,H,W,C] after n noising steps, drawn from q(x_t | x0) with each image's own key[B]."""
    if n == 0:
        return x0
    return q_sample(schedule, x0, jnp.full(x0.shape[:1], n - 1), noise(key, x0.shape))


def fresh_noise(noise: Noise, key: jax.Array, here: Level, shape: tuple[int, ...]) -> jax.Array:
    """The noise that the step away from `here` adds, from each image's key[B] and the step's index."""
    return noise(jax.vmap(jax.random.fold_in, (0, None))(key, here.n - 1), shape)


def eps_hat(x_t: jax.Array, x0_hat: jax.Array, here: Level) -> jax.Array:
    """The noise that x_t holds if x0_hat is its clean image: (x_t - signal x0_hat) / sigma."""
    return (x_t - here.signal * x0_hat) / here.sigma


def move(x_t: jax.Array, x0_hat: jax.Array, here: Level, there: Level) -> jax.Array:
    """x_s = signal_s x0_hat + sigma_s eps_hat, up or down (Song et al. 2021, DDIM, equation 12 with sigma_t = 0)."""
    return there.signal * x0_hat + there.sigma * eps_hat(x_t, x0_hat, here)


def walk(
    denoise: Denoiser,
    schedule: Schedule,
    x_t: jax.Array,
    path: np.ndarray,
    advance: Advance,
    state: Any = (),
    *,
    clip: bool,
    trajectory: bool = False,
) -> jax.Array | tuple[jax.Array, jax.Array]:
    """Take x_t[B,H,W,C] along the levels path[S + 1] in one `lax.scan`, one denoiser call a step.

    Args:
      advance: what one step does; state: what it hands to the next step, any pytree.
      clip: hold x0_hat within [-1, 1].
    Returns: x at the last level, and with `trajectory` also x after every step, [S,B,H,W,C].
    """

    def step(carry, between):
        (x_t, state), (here, there) = carry, between
        x0_hat = denoise(x_t, jnp.full(x_t.shape[:1], here.n - 1))
        x_s, state = advance(x_t, jnp.clip(x0_hat, -1, 1) if clip else x0_hat, here, there, state)
        return (x_s, state), x_s if trajectory else None

    visited = levels(schedule, path)
    between = (Level(*(row[:-1] for row in visited)), Level(*(row[1:] for row in visited)))
    (x, _), xs = jax.lax.scan(step, (x_t, state), between)
    return (x, xs) if trajectory else x
