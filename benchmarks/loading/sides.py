"""How do our batches come from the files?"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from cdm_jax.data import pipeline
from cdm_jax.data.store import gather, open_store

AHEAD = 8  # batches that `pipeline.batches` holds ready


@dataclass(frozen=True)
class Side:
    """One way of reading: `start()` opens the files and gives batches without end; `ahead` of them may be ready."""

    name: str
    workers: int
    start: Callable[[], Generator]
    ahead: int = 0


def our_sides(paths: list[Path], batch: int, workers: tuple[int, ...]) -> list[Side]:
    """The bare store, and the pipeline with each number of threads."""
    threads = [
        Side("pipeline", count, partial(pipeline_batches, paths, batch, count), AHEAD if count else 0)
        for count in workers
    ]
    return [Side("store", 0, partial(store_batches, paths, batch)), *threads]


def store_batches(paths: list[Path], batch: int) -> Generator:
    """Slices drawn from all, each batch one call of `gather`."""
    store, rng = open_store(paths, verify=False), np.random.default_rng(0)
    depth = len(store.images[0])
    while True:
        yield gather(store, rng.integers(len(store), size=batch), rng.integers(depth, size=batch))


def pipeline_batches(paths: list[Path], batch: int, workers: int) -> Generator:
    store = open_store(paths, verify=False)
    yield from pipeline.batches(store, seed=0, batch=batch, workers=workers)


def record_batches(path: Path, shape: tuple[int, int, int], batch: int) -> Generator:
    """The same slices from the ArrayRecord file."""
    from array_record.python.array_record_module import ArrayRecordReader

    _, height, width = shape
    reader, rng = ArrayRecordReader(str(path), "readahead_buffer_size:0"), np.random.default_rng(0)
    dtype = np.dtype([("image", "<f4", (height, width)), ("mask", "?", (height, width))])
    while True:
        records = reader.read(rng.integers(reader.num_records(), size=batch).tolist())
        images, masks = np.empty((batch, height, width), np.float32), np.empty((batch, height, width), bool)
        for row, record in enumerate(records):
            found = np.frombuffer(record, dtype, 1)[0]
            images[row], masks[row] = found["image"], found["mask"]
        yield images, masks
