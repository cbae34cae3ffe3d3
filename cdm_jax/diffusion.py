"""How a clean image becomes a noisy one, and how a network's output becomes a denoiser."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from cdm_jax.errors import choose
from cdm_jax.schedule import Schedule, at, x0_from_eps

Denoiser = Callable[[jax.Array, jax.Array], jax.Array]
"""denoise(x_t[B,H,W,C], t[B]) -> x0_hat[B,H,W,C], the condition already bound."""

Noise = Callable[[jax.Array, tuple[int, ...]], jax.Array]
"""noise(key[B], (B,H,W,C)) -> eps[B,H,W,C], every image from its own key."""


def to_model_range(image: jax.Array) -> jax.Array:
    """[0, 1], which the encoder sees, to [-1, 1], which the UNet sees."""
    return 2 * image - 1


def to_unit_range(x0: jax.Array) -> jax.Array:
    """[-1, 1] back to [0, 1]."""
    return (x0 + 1) / 2


def q_sample(schedule: Schedule, x0: jax.Array, t: jax.Array, eps: jax.Array) -> jax.Array:
    """x_t = signal x0 + sigma eps for t[B] and images [B,H,W,C] (Ho et al. 2020, equation 4)."""
    return at(schedule.signal, t) * x0 + at(schedule.sigma, t) * eps


def v_target(schedule: Schedule, x0: jax.Array, t: jax.Array, eps: jax.Array) -> jax.Array:
    """v = signal eps - sigma x0 (Salimans and Ho 2022, section 4)."""
    return at(schedule.signal, t) * eps - at(schedule.sigma, t) * x0


def x0_from_v(schedule: Schedule, x_t: jax.Array, t: jax.Array, v: jax.Array) -> jax.Array:
    """x0 = signal x_t - sigma v."""
    return at(schedule.signal, t) * x_t - at(schedule.sigma, t) * v


def x0_from_eps_published(schedule: Schedule, x_t: jax.Array, t: jax.Array, eps: jax.Array) -> jax.Array:
    """x_t - sigma eps: the published reconstruction, which forgets to divide by the signal."""
    return x_t - at(schedule.sigma, t) * eps


TARGETS = {
    "x0": lambda schedule, x0, t, eps: x0,
    "eps": lambda schedule, x0, t, eps: eps,
    "eps_published": lambda schedule, x0, t, eps: eps,
    "v": v_target,
}
"""What the network predicts -> its target, target(schedule, x0, t, eps)."""

X0_FROM = {
    "x0": lambda schedule, x_t, t, x0: x0,
    "eps": x0_from_eps,
    "eps_published": x0_from_eps_published,
    "v": x0_from_v,
}
"""What the network predicts -> how that gives x0_hat."""


def bind_denoiser(predict: Denoiser, schedule: Schedule, prediction: str) -> Denoiser:
    """Turn a network's `predict(x_t, t)` into `denoise(x_t, t) -> x0_hat`; `prediction` is a key of `X0_FROM`."""
    x0_from = choose(X0_FROM, prediction, "prediction")

    def denoise(x_t: jax.Array, t: jax.Array) -> jax.Array:
        t = jnp.broadcast_to(t, x_t.shape[:1])
        return x0_from(schedule, x_t, t, predict(x_t, t))

    return denoise
