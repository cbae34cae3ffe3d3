"""Prepared volumes of one split on disk, memory-mapped, named by what went into them."""

import hashlib
import json
import shutil
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from cdm_jax.data.datasets.tree import Subject
from cdm_jax.data.preprocess import Prepared, preprocess, to_model_fraction, to_model_grid
from cdm_jax.data.volume import Volume, read, read_mask, read_seg
from cdm_jax.errors import choose
from cdm_jax.files import write_json

ARRAYS = ("images", "masks", "segs")
LABELS = {
    "majority": lambda seg, prepared: to_model_fraction(seg, prepared) >= 0.5,
    "nearest": to_model_grid,  # as published: labels shift by half a voxel where the grid coarsens by two
}
"""How lesion labels come to the model grid."""


@dataclass(frozen=True)
class Store:
    """Volumes on the model grid, axial slices first, so that one slice is one contiguous read.

    images: float32 [N,D,H,W] in [0, 1]; masks, segs: bool [N,D,H,W]; ids: N names; spacing: mm.
    """

    ids: list[str]
    images: np.ndarray
    masks: np.ndarray
    segs: np.ndarray
    spacing: float

    def __len__(self) -> int:
        return len(self.ids)


def prepare_subject(subject: Subject, labels: str, **settings) -> tuple[Volume, Prepared, np.ndarray]:
    """(volume as read, prepared volume, seg bool on the model grid) of one subject; no seg is all False."""
    volume = read(subject.image)
    mask = read_mask(subject.mask, volume) if subject.mask else None
    prepared = preprocess(volume, mask, **settings)
    if subject.seg is None:
        return volume, prepared, np.zeros(prepared.mask.shape, bool)
    return volume, prepared, choose(LABELS, labels, "labels")(read_seg(subject.seg, volume), prepared)


def build(
    root: str | Path,
    subjects: Sequence[Subject],
    *,
    workers: int = 2,
    progress: Callable = iter,
    **settings,
) -> Store:
    """Prepare `subjects` under `root`, or open what the same files and settings gave before.

    Args:
      settings: `labels` (a key of `LABELS`) and keyword arguments of `preprocess`.
      progress: wraps the iterator over subjects.
    Raises:
      VolumeError: a file cannot be used; nothing is left behind.
    """
    folder = Path(root) / _key(subjects, settings)
    if not (folder / "index.json").exists():
        temporary = folder.with_name(f".tmp-{uuid.uuid4().hex[:8]}")
        temporary.mkdir(parents=True)
        try:
            _write(temporary, subjects, workers, progress, settings)
            shutil.rmtree(folder, ignore_errors=True)
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return open_store(folder)


def open_store(folder: str | Path) -> Store:
    """The store that stands complete in `folder`."""
    index = json.loads((Path(folder) / "index.json").read_text())
    arrays = {name: np.load(Path(folder) / f"{name}.npy", mmap_mode="r") for name in ARRAYS}
    return Store(ids=index["ids"], spacing=index["settings"]["spacing"], **arrays)


def _write(folder: Path, subjects, workers, progress, settings) -> None:
    height, width, depth = settings["shape"]
    shape = (len(subjects), depth, height, width)
    dtypes = dict.fromkeys(ARRAYS, np.bool_) | {"images": np.float32}
    out = {
        name: np.lib.format.open_memmap(folder / f"{name}.npy", "w+", dtype, shape)
        for name, dtype in dtypes.items()
    }
    with ThreadPoolExecutor(workers) as pool:
        prepared = pool.map(partial(prepare_subject, **settings), subjects)
        for n, (_, volume, seg) in enumerate(progress(prepared)):
            for name, array in zip(ARRAYS, (volume.image, volume.mask, seg), strict=True):
                out[name][n] = np.moveaxis(array, 2, 0)
    for array in out.values():
        array.flush()
    write_json(folder / "index.json", {"ids": [s.id for s in subjects], "settings": settings})


def _key(subjects: Sequence[Subject], settings: dict) -> str:
    """Hash of the settings and of every file's content."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for subject in subjects:
        for path in (subject.image, subject.mask, subject.seg):
            digest.update(hashlib.sha256(path.read_bytes()).digest() if path else b"-")
    return digest.hexdigest()[:16]
