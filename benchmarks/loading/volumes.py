"""Which files does the benchmark read?"""

from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from cdm_jax.data.entry import write_entry

SPACING = (2.0, 2.0, 2.0)


def make_volume(shape: tuple[int, int, int], number: int) -> tuple[np.ndarray, np.ndarray]:
    """(image float32 in [0, 1], mask bool) of (D, H, W) voxels: grain and folds inside an ellipsoid."""
    rng = np.random.default_rng(number)
    grid = np.meshgrid(*(np.linspace(-1, 1, size) for size in shape), indexing="ij", sparse=True)
    mask = np.broadcast_to(sum(axis**2 for axis in grid) < 0.8, shape)
    folds = ndimage.zoom(rng.random([-(-size // 8) for size in shape]), 8, order=1)
    image = folds[tuple(map(slice, shape))] + 0.1 * rng.random(shape)
    return (mask * image / 1.1).astype(np.float32), mask


def write_entries(folder: Path, count: int, shape: tuple[int, int, int]) -> list[Path]:
    """Entries of the store, of (D, H, W) voxels; the volumes differ by a shift."""
    paths, (image, mask) = [folder / f"{n:04d}.npy" for n in range(count)], make_volume(shape, 0)
    for n, path in enumerate(paths):
        shift = (n % shape[0], n % shape[1])
        write_entry(path, np.roll(image, shift, (0, 1)), np.roll(mask, shift, (0, 1)), ~mask, SPACING)
    return paths


def write_scans(folder: Path, count: int, shape: tuple[int, int, int]) -> list[tuple[Path, Path]]:
    """(scan, mask) as .nii.gz [H,W,D], the way the published system keeps them."""
    folder.mkdir(parents=True, exist_ok=True)
    pairs = [(folder / f"{n:04d}.nii.gz", folder / f"{n:04d}_mask.nii.gz") for n in range(count)]
    for n, pair in enumerate(pairs):
        for path, array in zip(pair, make_volume(shape, n), strict=True):
            array = array.astype(np.uint8) if array.dtype == bool else array
            nib.save(nib.Nifti1Image(np.moveaxis(array, 0, 2), np.diag([*SPACING, 1])), path)
    return pairs


def write_records(path: Path, entries: list[Path]) -> Path:
    """One ArrayRecord file of every slice of every entry, image and mask in one record."""
    from array_record.python.array_record_module import ArrayRecordWriter

    writer = ArrayRecordWriter(str(path), "group_size:1,uncompressed")
    for entry in map(np.load, entries):
        for image, mask in zip(entry["image"], entry["mask"], strict=True):
            writer.write(image.tobytes() + mask.tobytes())
    writer.close()
    return path
