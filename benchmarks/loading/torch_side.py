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


def torch_batches(make: Callable[[], Dataset], batch: int, workers: int) -> Generator:
    dataset = make()
    context = "fork" if workers else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # more workers than cores, and forking beside jax's threads
        yield from DataLoader(
            dataset,
            batch,
            sampler=Endless(len(dataset)),
            num_workers=workers,
            multiprocessing_context=context,
        )


def torch_sides(paths: list[Path], batch: int, workers: tuple[int, ...]) -> list[Side]:
    return [_side("torch DataLoader", partial(Slices, paths), batch, count) for count in workers]


def scan_side(pairs: list[tuple[Path, Path]], batch: int, workers: int) -> Side:
    return _side("torch DataLoader, .nii.gz", partial(ScanSlices, pairs), batch, workers)


def _side(name: str, make: Callable[[], Dataset], batch: int, workers: int) -> Side:
    return Side(name, workers, partial(torch_batches, make, batch, workers), ahead=2 * workers)
