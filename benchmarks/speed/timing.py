"""How long does each side take, when they take turns?"""

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

Run = Callable[[], np.ndarray]
"""One whole volume: from arrays on the host to an array on the host, so that nothing is left queued."""


def timed(run: Run, clock: Callable[[], float] = time.perf_counter) -> tuple[float, np.ndarray]:
    """(seconds, result) of one run."""
    began = clock()
    result = run()
    return clock() - began, result


def alternate(
    sides: Mapping[str, Run], repeats: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of `repeats` runs a side, in the order a b a b ..., so that a machine's moods strike both."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, run in sides.items():
            seconds[name].append(timed(run, clock)[0])
    return seconds


def median_iqr(values: Sequence[float]) -> tuple[float, float]:
    """Median and distance between the quartiles (linear interpolation)."""
    low, median, high = np.percentile(values, (25, 50, 75))
    return float(median), float(high - low)
