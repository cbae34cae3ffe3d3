"""How much signal and noise does an image hold at every noise level?

A level n counts noising steps: n = 0 is the clean image, and the networks know level n as step index n - 1.
"""

from dataclasses import dataclass

import numpy as np
from torch import Tensor


@dataclass(frozen=True)
class Schedule:
    """x = signal x0 + sigma eps at the levels n = 0 ... T, float64 [T + 1] on the host."""

    signal: np.ndarray
    sigma: np.ndarray

    @property
    def timesteps(self) -> int:
        return len(self.signal) - 1

    def posterior(self, n: int) -> tuple[float, float, float]:
        """The weights of x0 and x_t in the mean of q(x_{n-1} | x_n, x0), and its standard deviation.

        Source: Ho et al. 2020, equations 6 and 7.
        """
        (noise, before), signal = self.sigma[[n, n - 1]] ** 2, self.signal[n - 1]
        alpha = (self.signal[n] / signal) ** 2
        variance = (1 - alpha) * before / noise
        return signal * (1 - alpha) / noise, np.sqrt(alpha) * before / noise, np.sqrt(variance)


def make_schedule(alpha_bar: np.ndarray) -> Schedule:
    """The schedule of alpha_bar[T], which should be float64: 1 - alpha_bar is small at the first steps."""
    alpha_bar = np.append(1.0, np.asarray(alpha_bar, np.float64))
    return Schedule(np.sqrt(alpha_bar), np.sqrt(1 - alpha_bar))


def of_images(coefficient: np.ndarray, n: Tensor, like: Tensor) -> Tensor:
    """coefficient[n] for the levels n[B], shaped [B,1,1,1] to multiply images, on the device of `like`."""
    return like.new_tensor(coefficient)[n][:, None, None, None]
