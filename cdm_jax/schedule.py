"""How much signal and noise a diffused image holds at every step t."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from cdm_jax.errors import choose


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Schedule:
    """Coefficients of the forward process and its posterior for t = 0 ... T-1, each float32 [T].

    x_t = signal * x0 + sigma * eps, with signal = sqrt(alpha_bar) and sigma = sqrt(1 - alpha_bar); step t = 0
    is the first noised one. The posterior q(x_{t-1} | x_t, x0) has mean `posterior_x0 * x0 + posterior_x_t *
    x_t` and variance `posterior_variance` (Ho et al. 2020, equations 4, 6 and 7).
    """

    betas: jax.Array
    alpha_bar: jax.Array
    signal: jax.Array
    sigma: jax.Array
    posterior_variance: jax.Array
    posterior_x0: jax.Array
    posterior_x_t: jax.Array

    @property
    def timesteps(self) -> int:
        return self.betas.shape[0]


def cosine_betas(timesteps: int, s: float = 0.008, max_beta: float = 0.999) -> np.ndarray:
    """Betas of the cosine schedule, float64 [T] (Nichol and Dhariwal 2021, equation 17)."""
    u = np.linspace(0, 1, timesteps + 1)
    alpha_bar = np.cos((u + s) / (1 + s) * np.pi / 2) ** 2
    return np.clip(1 - alpha_bar[1:] / alpha_bar[:-1], 0, max_beta)


def linear_betas(timesteps: int) -> np.ndarray:
    """Betas of the linear schedule, scaled so that T = 1000 runs from 1e-4 to 0.02 (Ho et al. 2020)."""
    scale = 1000 / timesteps
    return np.linspace(scale * 1e-4, scale * 0.02, timesteps)


BETAS = {"cosine": cosine_betas, "linear": linear_betas}


def make_schedule(name: str = "cosine", timesteps: int = 1000) -> Schedule:
    """The named schedule, computed in float64 and rounded once to float32.

    Raises:
      UsageError: the name is not in `BETAS`.
    """
    betas = choose(BETAS, name, "schedule")(timesteps)
    alpha_bar = np.cumprod(1 - betas)
    alpha_bar_prev = np.append(1.0, alpha_bar[:-1])
    columns = {
        "betas": betas,
        "alpha_bar": alpha_bar,
        "signal": np.sqrt(alpha_bar),
        "sigma": np.sqrt(1 - alpha_bar),
        "posterior_variance": betas * (1 - alpha_bar_prev) / (1 - alpha_bar),
        "posterior_x0": betas * np.sqrt(alpha_bar_prev) / (1 - alpha_bar),
        "posterior_x_t": (1 - alpha_bar_prev) * np.sqrt(1 - betas) / (1 - alpha_bar),
    }
    return Schedule(**{name: jnp.asarray(column, jnp.float32) for name, column in columns.items()})


def at(coefficient: jax.Array, t: jax.Array) -> jax.Array:
    """`coefficient[t]` for t[B], shaped [B,1,1,1] to multiply images [B,H,W,C]."""
    return coefficient[t][:, None, None, None]


def x0_from_eps(schedule: Schedule, x_t: jax.Array, t: jax.Array, eps: jax.Array) -> jax.Array:
    """x0 = (x_t - sigma eps) / signal, for t[B] and images [B,H,W,C]."""
    return (x_t - at(schedule.sigma, t) * eps) / at(schedule.signal, t)


def eps_from_x0(schedule: Schedule, x_t: jax.Array, t: jax.Array, x0: jax.Array) -> jax.Array:
    """eps = (x_t - signal x0) / sigma, for t[B] and images [B,H,W,C]."""
    return (x_t - at(schedule.signal, t) * x0) / at(schedule.sigma, t)


def snr(schedule: Schedule, t: jax.Array) -> jax.Array:
    """Signal-to-noise ratio signal^2 / sigma^2 at t[B], shape [B]."""
    return (schedule.signal[t] / schedule.sigma[t]) ** 2
