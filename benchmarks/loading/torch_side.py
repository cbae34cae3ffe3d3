"""How do torch's batches come from the same files, as its users write it?"""

import random
import warnings
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from loading.measure import BASE, BATCHED
from loading.sides import Side


class Slices(Dataset):
    """One random slice of each volume, from memory maps that stay open."""

    def __init__(self, paths: list[Path]):
        entries = [np.load(path, mmap_mode="r") for path in paths]
        self.images = [entry["image"] for entry in entries]
        self.masks = [entry["mask"] for entry in entries]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, n: int) -> dict:
        index = random.randrange(len(self.images[n]))
        return item(self.images[n][index], self.masks[n][index], n, index)


class BatchedSlices(Slices):
    """The same, a whole batch a call: the hook that torch has for it."""

    def __getitems__(self, rows: list[int]) -> dict:
        picked = [random.randrange(len(self.images[n])) for n in rows]
        images = np.stack([self.images[n][index] for n, index in zip(rows, picked, strict=True)])
        masks = np.stack([self.masks[n][index] for n, index in zip(rows, picked, strict=True)])
        arrays = {"image": images[:, None], "mask": masks[:, None], "volume": rows, "slice": picked}
        return {name: torch.as_tensor(value) for name, value in arrays.items()}


def whole(batch: dict) -> dict:
    """The collation of what is a batch already."""
    return batch


class ScanSlices(Dataset):
    """One random slice of each volume, from .nii.gz."""

    def __init__(self, pairs: list[tuple[Path, Path]]):
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, n: int) -> dict:
        image, mask = (np.asarray(nib.load(path).dataobj) for path in self.pairs[n])
        index = random.randrange(image.shape[2])
        return item(image[..., index], mask[..., index] > 0, n, index)


def item(image: np.ndarray, mask: np.ndarray, volume: int, index: int) -> dict:
    # Copied, as the maps are read-only.
    image, mask = (torch.from_numpy(np.array(array))[None] for array in (image, mask))
    return {"image": image, "mask": mask, "volume": volume, "slice": index}


class Endless(Sampler):
    """Epoch after epoch without a pause, so that workers never wait for the next one to begin."""

    def __init__(self, size: int):
        self.size = size

    def __iter__(self) -> Iterator[int]:
        while True:
            yield from torch.randperm(self.size).tolist()


def torch_batches(make: Callable[[], Dataset], batch: int, workers: int, collate=None) -> Generator:
    dataset = make()
    context = "fork" if workers else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # more workers than cores, and forking beside jax's threads
        yield from DataLoader(
            dataset,
            batch,
            sampler=Endless(len(dataset)),
            num_workers=workers,
            collate_fn=collate,
            multiprocessing_context=context,
        )


def torch_sides(paths: list[Path], batch: int, workers: tuple[int, ...]) -> list[Side]:
    """An item a slice, as most write it, and a batch a call."""
    items = [_side(BASE, partial(Slices, paths), batch, count) for count in workers]
    batches = partial(torch_batches, partial(BatchedSlices, paths), batch)
    return [
        *items,
        *(Side(BATCHED, count, partial(batches, count, whole), 2 * count) for count in workers),
    ]


def scan_side(pairs: list[tuple[Path, Path]], batch: int, workers: int) -> Side:
    return _side(f"{BASE}, .nii.gz", partial(ScanSlices, pairs), batch, workers)


def _side(name: str, make: Callable[[], Dataset], batch: int, workers: int) -> Side:
    return Side(name, workers, partial(torch_batches, make, batch, workers), ahead=2 * workers)
