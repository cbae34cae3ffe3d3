"""How many slices a second does each side read, and what memory does ours take?"""

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from cdm_jax.data import pipeline
from cdm_jax.data.store import open_store
from loading.cache import cached_share, drop, resident
from loading.sides import Side

BASE, BATCHED = "torch DataLoader", "torch DataLoader, batch a call"


def warm_rate(side: Side, batch: int, seconds: float) -> float:
    """Slices a second over at least `seconds`, after as long without counting, in which the files get mapped."""
    batches = side.start()
    _read(batches, seconds, least=side.ahead + 1)
    began = time.perf_counter()
    count = _read(batches, seconds)
    took = time.perf_counter() - began
    batches.close()
    return count * batch / took


def _read(batches: Iterator, seconds: float, least: int = 1) -> int:
    """How many batches it gives in `seconds`, `least` of them in any case."""
    began, count = time.perf_counter(), 0
    while count < least or time.perf_counter() - began < seconds:
        next(batches)
        count += 1
    return count


def cold_rate(side: Side, batch: int, count: int) -> float:
    """Slices a second of `count` batches, from before the files are opened."""
    began = time.perf_counter()
    batches = side.start()
    for _ in islice(batches, count):
        pass
    took = time.perf_counter() - began
    batches.close()
    return count * batch / took


def in_turn(sides: Sequence[Side], repeats: int, rate: Callable[[Side], float], cache: str) -> list[dict]:
    """One row a side; the sides take turns, `repeats` times, and ratios are formed within a turn.

    Returns: rows {"side", "workers", "cache", "slices_per_s", "times_torch": to torch with as many workers,
      "times_best_torch": to torch at its best}; each number a median beside its "..._quartiles".
    """
    rates = np.array([[rate(side) for side in sides] for _ in range(repeats)]).T  # [side, turn]
    torch = {side.workers: row for side, row in zip(sides, rates, strict=True) if side.name == BASE}
    every = [row for side, row in zip(sides, rates, strict=True) if side.name in (BASE, BATCHED)]
    best = max(every, key=np.median, default=None)
    return [
        {"side": side.name, "workers": side.workers, "cache": cache}
        | _spread("slices_per_s", row)
        | (_spread("times_torch", row / torch[side.workers]) if side.workers in torch else {})
        | (_spread("times_best_torch", row / best) if best is not None else {})
        for side, row in zip(sides, rates, strict=True)
    ]


def warm(sides: Sequence[Side], batch: int, repeats: int, seconds: float) -> list[dict]:
    for side in sides:  # once before, so that nothing is met for the first time
        warm_rate(side, batch, 0)
    return in_turn(sides, repeats, lambda side: warm_rate(side, batch, seconds), "warm")


def cold(
    sides: Sequence[Side], batch: int, repeats: int, paths: list[Path]
) -> tuple[list[dict], float | None]:
    """(rows of the first epoch after the files' pages were dropped, largest share of files that were not)."""
    shares, count = [], max(1, len(paths) // batch)

    def rate(side: Side) -> float:
        shares.append(forget(paths))
        return cold_rate(side, batch, count)

    rows = in_turn(sides, repeats, rate, "cold")
    return rows, None if None in shares else max(shares)


def forget(paths: list[Path]) -> float | None:
    """Drop the files from memory; returns the share that stayed, None if unknown.

    Mapped pages stay: those of threads and processes that are still ending are waited for, two seconds at most.
    """
    for _ in range(20):
        gc.collect()
        drop(paths)
        if not (share := cached_share(paths)):
            break
        time.sleep(0.1)
    drop(paths)  # the pages that were asked for
    return share


def memory(paths: list[Path], batch: int, epochs: int) -> list[dict[str, float]]:
    """What the process holds after each epoch of every slice of every volume through the pipeline."""
    store = open_store(paths)
    steps = len(store) * len(store.images[0]) // batch
    batches, found = pipeline.batches(store, seed=0, batch=batch, slices="all"), []
    for _ in range(epochs):
        for _ in islice(batches, steps):
            pass
        found.append(resident())
    batches.close()
    return found


def opening(paths: list[Path], repeats: int) -> dict[str, float]:
    """Median seconds to open all entries, with and without checksums, warm, and with them after `forget`."""

    def seconds(verify: bool) -> float:
        began = time.perf_counter()
        open_store(paths, verify=verify)
        return time.perf_counter() - began

    def cold_seconds() -> float:
        forget(paths)
        return seconds(True)

    kinds = {
        "unverified_s": partial(seconds, False),
        "verified_s": partial(seconds, True),
        "cold_verified_s": cold_seconds,
    }
    return {name: float(np.median([take() for _ in range(repeats)])) for name, take in kinds.items()}


def _spread(name: str, values: np.ndarray) -> dict:
    low, middle, high = np.percentile(values, (25, 50, 75))
    return {name: float(middle), f"{name}_quartiles": [float(low), float(high)]}
