"""How long does each step take, and how much of that does it wait for its batch?"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np


class Side(NamedTuple):
    """One training under way.

    feed: batches on the device, without end; step(batch) -> handle, which may return before the step is done;
    wait(handle) returns when it is; read(handle) -> {"loss", "grad_norm"} of the step just taken.
    ahead: steps queued before the oldest one is waited for: 1 keeps an accelerator busy, 0 suits a CPU.
    """

    feed: Iterator[Any]
    step: Callable[[Any], Any]
    wait: Callable[[Any], Any]
    read: Callable[[Any], dict[str, float]]
    ahead: int = 0


class Steps(NamedTuple):
    """Of each step of one round: seconds from the end of the step before to its own, seconds without a batch."""

    seconds: list[float]
    waited: list[float]


def run_steps(side: Side, count: int, clock: Callable[[], float] = time.perf_counter) -> Steps:
    """Take `count` steps; none is left queued at the end."""
    queued, seconds, waited, last = [], [], [], clock()

    def finish() -> None:
        nonlocal last
        side.wait(queued.pop(0))
        seconds.append((now := clock()) - last)
        last = now

    for _ in range(count):
        began = clock()
        batch = next(side.feed)
        waited.append(clock() - began)
        queued.append(side.step(batch))
        if len(queued) > side.ahead:
            finish()
    while queued:
        finish()
    return Steps(seconds, waited)


def take_turns(
    sides: Mapping[str, Side], rounds: int, steps: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[Steps]]:
    """`rounds` rounds of `steps` steps a side, in the order a b a b ..., so that a machine's moods strike both."""
    found: dict[str, list[Steps]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            found[name].append(run_steps(side, steps, clock))
    return found


def all_seconds(rounds: Sequence[Steps]) -> list[float]:
    return [seconds for steps in rounds for seconds in steps.seconds]


def ratio(above: Sequence[Steps], below: Sequence[Steps]) -> tuple[float, float]:
    """(median step above / median step below, distance between the quartiles of that ratio over the rounds)."""
    by_round = [np.median(a.seconds) / np.median(b.seconds) for a, b in zip(above, below, strict=True)]
    low, high = np.percentile(by_round, (25, 75))
    return float(np.median(all_seconds(above)) / np.median(all_seconds(below))), float(high - low)
