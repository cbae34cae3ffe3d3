"""Which slices does training see at which step (Grain)?"""

import sys
from collections.abc import Callable, Generator, Iterator
from functools import lru_cache

import grain
import numpy as np

from cdm_jax.data.store import Store, gather
from cdm_jax.errors import UsageError, choose

Batch = dict[str, np.ndarray]
Pick = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""pick(positions [B] in the endless order) -> (volumes [B], slices [B])."""


def brain_slices(store: Store, least: int = 1) -> list[np.ndarray]:
    """For each volume, the indices of its axial slices with at least `least` mask voxels (never none)."""
    counts = [mask.sum(axis=(1, 2)) for mask in store.masks]
    return [np.flatnonzero(row >= min(least, row.max())) for row in counts]


@lru_cache(maxsize=8)
def shuffled(seed: int, epoch: int, size: int) -> np.ndarray:
    """[2,size]: a permutation of range(size), and as many random 64-bit numbers.

    From the raw numbers of the counter-based Philox alone, which stay the same under every version of numpy, as
    those of `Generator` need not.
    """
    key = np.array([seed % 2**64, epoch], np.uint64)
    draw = np.random.Philox(key=key).random_raw(2 * size).reshape(2, size)
    return np.stack([np.argsort(draw[0], kind="stable").astype(np.uint64), draw[1]])


def in_epochs(positions: np.ndarray, seed: int, size: int) -> np.ndarray:
    """[2,B]: what stands at consecutive `positions` in the endless row of epochs of `size`, see `shuffled`."""
    epochs, places = np.divmod(positions, size)
    each = range(epochs[0], epochs[-1] + 1)
    return np.concatenate([shuffled(seed, epoch, size)[:, places[epochs == epoch]] for epoch in each], axis=1)


def one_slice(choices: list[np.ndarray], seed: int) -> Pick:
    """An epoch is one random slice of each volume, as published."""
    counts = np.array([len(slices) for slices in choices], np.uint64)
    starts, slices = np.cumsum(counts) - counts, np.concatenate(choices)

    def pick(positions):
        volumes, draw = in_epochs(positions, seed, len(choices))
        return volumes, slices[starts[volumes] + draw % counts[volumes]]

    return pick


def every_slice(choices: list[np.ndarray], seed: int) -> Pick:
    """An epoch is every slice of every volume, all shuffled together."""
    volumes = np.repeat(np.arange(len(choices)), [len(slices) for slices in choices])
    slices = np.concatenate(choices)

    def pick(positions):
        rows, _ = in_epochs(positions, seed, len(slices))
        return volumes[rows], slices[rows]

    return pick


SLICES = {"one": one_slice, "all": every_slice}
"""What an epoch is made of."""


def slice_dataset(
    store: Store,
    *,
    seed: int,
    batch: int,
    slices: str = "one",
    brain_only: bool = False,
    process: int = 0,
    processes: int = 1,
) -> grain.MapDataset:
    """Grain dataset of training batches without end; its element is a whole batch, gathered in one go.

    The batch at a step is a function of `seed` and that step alone: `dataset[step:]` continues a stopped run
    exactly. Process p of P takes the p-th of P equal runs of rows of every global batch.

    Args:
      slices: a key of `SLICES`; brain_only: leave out slices without brain.
    Returns: batches {"image": float32 [B,H,W,1] in [0, 1], "mask": bool [B,H,W,1], "id": int32 [B] (the
      sample's place in the endless order, the same on every process), "volume", "slice": int32 [B]}.
    Raises:
      UsageError: `batch` is no multiple of `processes`, or `slices` is unknown.
      VolumeError: from a batch, where a file was cut after the store was opened.
    """
    if batch % processes:
        raise UsageError(f"a batch of {batch} cannot be shared by {processes} processes: choose a multiple")
    depth = len(store.images[0])
    choices = brain_slices(store) if brain_only else [np.arange(depth)] * len(store)
    pick = choose(SLICES, slices, "slices")(choices, seed)
    share = batch // processes
    mine = np.arange(process * share, (process + 1) * share)

    def batch_at(step: int) -> Batch:
        positions = step * batch + mine
        volumes, chosen = pick(positions)
        images, masks = gather(store, volumes, chosen)
        numbers = {"id": positions % 2**31, "volume": volumes, "slice": chosen}
        whole = {name: value.astype(np.int32) for name, value in numbers.items()}
        return {"image": images[..., None], "mask": masks[..., None]} | whole

    return grain.MapDataset.range(sys.maxsize).map(batch_at)


def batches(store: Store, *, start_step: int = 0, workers: int = 1, **settings) -> Generator[Batch]:
    """Training batches of `slice_dataset` from `start_step` on, read ahead by threads; close it when done.

    Args:
      workers: threads, 0 for none. One is enough: it reads ahead while the device computes.
    """
    options = grain.ReadOptions(num_threads=workers, prefetch_buffer_size=8 if workers else 0)
    return _closed(iter(slice_dataset(store, **settings)[start_step:].to_iter_dataset(options)))


def _closed(iterator) -> Generator[Batch]:
    """The iterator's elements; its threads end with this generator."""
    try:
        yield from iterator
    finally:
        iterator.close()


def fixed_batches(store: Store, batch: int, slices_per_volume: int = 4) -> Iterator[Batch]:
    """Evenly spaced brain slices of every volume, the same at each call: what validation scores.

    The last batch is filled up by repeating its first images, so that all have one shape; "weight" [B] is 0
    for those.
    """
    pairs = np.array([
        (volume, index)
        for volume, choices in enumerate(brain_slices(store))
        for index in choices[np.linspace(0, len(choices) - 1, slices_per_volume + 2).astype(int)[1:-1]]
    ])  # fmt: skip
    for start in range(0, len(pairs), batch):
        ids = np.arange(start, start + batch)
        images, masks = gather(store, *pairs[ids % len(pairs)].T)
        yield {
            "image": images[..., None],
            "mask": masks[..., None],
            "id": (ids % len(pairs)).astype(np.int32),
            "weight": (ids < len(pairs)).astype(np.float32),
        }
