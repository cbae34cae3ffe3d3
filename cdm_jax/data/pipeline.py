"""Which slices training sees at which step (Grain)."""

from collections.abc import Iterator

import grain
import numpy as np

from cdm_jax.data.store import Store


def brain_slices(store: Store, least: int = 1) -> list[np.ndarray]:
    """For each volume, the indices of its axial slices with at least `least` mask voxels (never none)."""
    counts = np.asarray(store.masks).sum(axis=(2, 3))
    return [np.flatnonzero(row >= min(least, row.max())) for row in counts]


def slice_dataset(
    store: Store, *, seed: int, batch: int, brain_only: bool, process: int = 0, processes: int = 1
):
    """Grain dataset of training batches, one random slice of each volume per epoch, without end.

    The batch at a position is a function of `seed` and that position alone: `dataset[step:]` continues a
    stopped run exactly. Each process takes its share of every global batch.

    Returns: batches {"image": float32 [B,H,W,1] in [0, 1], "mask": bool [B,H,W,1], "id": int [B] (the
      sample's place in the endless order, the same on every process), "volume", "slice": int [B]}.
    """
    depth = store.images.shape[1]
    choices = brain_slices(store) if brain_only else [np.arange(depth)] * len(store)

    def pick(element: tuple[int, int], rng: np.random.Generator) -> dict:
        position, volume = element
        index = rng.choice(choices[volume])
        return {
            "image": store.images[volume, index][..., None],
            "mask": store.masks[volume, index][..., None],
            "id": np.int32(position % 2**31),
            "volume": np.int32(volume),
            "slice": np.int32(index),
        }

    volumes = grain.MapDataset.range(len(store)).seed(seed).shuffle().repeat(None)
    numbered = volumes.map_with_index(lambda position, volume: (position, volume))
    mine = numbered.random_map(pick)[process::processes]
    return mine.batch(batch // processes, drop_remainder=True)


def batches(store: Store, *, start_step: int = 0, **settings) -> Iterator[dict[str, np.ndarray]]:
    """Training batches of `slice_dataset` from `start_step` on, read ahead by two threads."""
    options = grain.ReadOptions(num_threads=2, prefetch_buffer_size=8)
    return iter(slice_dataset(store, **settings)[start_step:].to_iter_dataset(options))


def fixed_batches(store: Store, batch: int, slices_per_volume: int = 4) -> Iterator[dict[str, np.ndarray]]:
    """Evenly spaced brain slices of every volume, the same at each call: what validation scores.

    The last batch is filled up by repeating its first images, so that all have one shape; "weight" [B] is 0
    for those.
    """
    pairs = [
        (volume, index)
        for volume, choices in enumerate(brain_slices(store))
        for index in choices[np.linspace(0, len(choices) - 1, slices_per_volume + 2).astype(int)[1:-1]]
    ]
    for start in range(0, len(pairs), batch):
        ids = np.arange(start, start + batch)
        rows = [pairs[i % len(pairs)] for i in ids]
        yield {
            "image": np.stack([store.images[v, s] for v, s in rows])[..., None],
            "mask": np.stack([store.masks[v, s] for v, s in rows])[..., None],
            "id": (ids % len(pairs)).astype(np.int32),
            "weight": (ids < len(pairs)).astype(np.float32),
        }
