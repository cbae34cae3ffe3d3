"""Which noise levels does a sampler visit?

A level n counts noising steps: n = 0 is the clean image, n = T the noisiest, and the denoiser knows level n as
step index n - 1.
"""

from collections.abc import Sequence

import numpy as np

from cdm_jax.errors import UsageError, choose
from cdm_jax.schedule import Schedule


def linear(schedule: Schedule, t_start: int, steps: int) -> np.ndarray:
    """Evenly from t_start to 0; with t_start = T this is "trailing" of Lin et al. 2024, table 2."""
    return np.linspace(t_start, 0, steps + 1)


def leading(schedule: Schedule, t_start: int, steps: int) -> np.ndarray:
    """Evenly from t_start to 1, the last level with noise, then 0."""
    return np.append(np.linspace(t_start, 1, steps), 0)


def quadratic(schedule: Schedule, t_start: int, steps: int) -> np.ndarray:
    """Squares of evenly spaced roots: denser towards the clean image (Song et al. 2021, DDIM, appendix D.2)."""
    return np.linspace(np.sqrt(t_start), 0, steps + 1) ** 2


def log_snr(schedule: Schedule, t_start: int, steps: int) -> np.ndarray:
    """Evenly in lambda = log(signal / sigma) from t_start to 1, then 0 (Lu et al. 2022, DPM-Solver, section 3.3).

    Reads the schedule's values, so under `jit` the schedule must be closed over and not be an argument.
    """
    lam = np.log(np.asarray(schedule.signal, np.float64) / np.asarray(schedule.sigma, np.float64))
    wanted = np.linspace(lam[t_start - 1], lam[0], steps)
    return np.append(np.interp(wanted, lam[::-1], np.arange(schedule.timesteps, 0, -1)), 0)


SPACINGS = {"leading": leading, "linear": linear, "log_snr": log_snr, "quadratic": quadratic}
"""rule(schedule, t_start, steps) -> real levels [steps + 1] from t_start to 0, to be rounded."""


def plan(
    schedule: Schedule, t_start: int, steps: int, spacing: str = "linear", visits: Sequence[int] = ()
) -> np.ndarray:
    """Levels visited, int [steps + 1], falling strictly from t_start to 0; only [0] if t_start is 0.

    Args:
      steps: 1 ... t_start; spacing: a key of `SPACINGS`.
      visits: the levels themselves, first the noised start and last where to stop, instead of a rule.
    Raises:
      UsageError: a setting out of range, or an unknown rule.
    """
    rule = choose(SPACINGS, spacing, "spacing")
    if len(visits):
        return _checked(schedule, visits)
    check_start(schedule, t_start)
    if steps < 1:
        raise UsageError(f"steps must be at least 1, not {steps}")
    if t_start == 0:
        return np.zeros(1, int)
    if steps > t_start:
        raise UsageError(f"{steps} steps do not fit below t_start {t_start}: at most one step a level")
    return _falling(rule(schedule, t_start, steps))


def check_start(schedule: Schedule, t_start: int) -> None:
    """Raise UsageError unless t_start is one of 0 ... T."""
    if not 0 <= t_start <= schedule.timesteps:
        raise UsageError(f"t_start {t_start} lies outside 0 ... {schedule.timesteps}")


def _falling(levels: np.ndarray) -> np.ndarray:
    """Round to whole levels, each below the one before and none so low that the rest no longer fit."""
    done = np.arange(len(levels))
    whole = np.minimum.accumulate(np.rint(levels).astype(int) + done) - done
    return np.maximum(whole, done[::-1])


def _checked(schedule: Schedule, visits: Sequence[int]) -> np.ndarray:
    levels = np.asarray(visits, int)
    if np.any(np.diff(levels) >= 0) or levels[0] > schedule.timesteps or levels[-1] < 0:
        raise UsageError(f"visits must fall within {schedule.timesteps} ... 0, not {tuple(visits)}")
    return levels
