"""How a scan comes from a NIfTI file, how a result goes back into the same grid."""

import os
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from cdm_jax.data.names import list_volumes, stem
from cdm_jax.data.nifti import decode
from cdm_jax.data.output import write_grid
from cdm_jax.errors import VolumeError

__all__ = ["Volume", "list_volumes", "read", "read_mask", "read_seg", "stem", "write"]


@dataclass(frozen=True, eq=False)
class Volume:
    """One 3-D scan: voxels [H,W,D] float32, voxel-to-world affine (mm) and the header it was read with."""

    array: np.ndarray
    affine: np.ndarray
    spacing: tuple[float, float, float]
    header: nib.Nifti1Header
    path: Path


def read(path: str | os.PathLike, max_gb: float = 2.0) -> Volume:
    """Read a 3-D NIfTI-1 or NIfTI-2 file; trailing axes of length 1 are dropped.

    Args:
      max_gb: largest size of its voxels, see `nifti.decode`.
    Raises:
      UsageError: there is no such file.
      VolumeError: anything that makes the file unusable as a scan, in one line that begins with the path.
    """
    volume = _read_grid(Path(path), max_gb)
    if volume.array.min() == volume.array.max():
        reason = f"every voxel is {volume.array.flat[0]:g}, there is nothing to see in it"
        raise VolumeError(volume.path, "constant", reason)
    return volume


def read_mask(path: str | os.PathLike, like: Volume, max_gb: float = 2.0) -> np.ndarray:
    """Read the brain mask of `like`: bool [H,W,D], true where the file is above one half.

    Raises:
      UsageError: there is no such file.
      VolumeError: unreadable, on another grid than `like`, or empty.
    """
    mask = read_seg(path, like, max_gb)
    if not mask.any():
        raise VolumeError(Path(path), "empty-mask", "the mask is empty (no voxel above 0.5)")
    return mask


def read_seg(path: str | os.PathLike, like: Volume, max_gb: float = 2.0) -> np.ndarray:
    """Read the lesion labels of `like`: bool [H,W,D], the union of all labels; it may be empty.

    Raises: as `read_labels`.
    """
    return read_labels(path, like, max_gb) > 0.5


def read_labels(path: str | os.PathLike, like: Volume, max_gb: float = 2.0) -> np.ndarray:
    """Read what lies on the grid of `like`, as it is: float32 [H,W,D].

    Raises:
      UsageError: there is no such file.
      VolumeError: unreadable, or on another grid than `like`.
    """
    volume = _read_grid(Path(path), max_gb)
    if volume.array.shape != like.array.shape:
        reason = f"{_sizes(volume.array)} voxels, but {like.path} has {_sizes(like.array)}"
        raise VolumeError(volume.path, "shape-mismatch", reason)
    apart = corner_distance(volume.affine, like.affine, like.array.shape)
    if apart > min(like.spacing) / 2:
        reason = (
            f"lies up to {apart:.1f} mm away from {like.path}; bring it onto that grid first, "
            "e.g. nilearn.image.resample_to_img(..., interpolation='nearest')"
        )
        raise VolumeError(volume.path, "affine-mismatch", reason)
    return volume.array


def write(path: str | os.PathLike, array: np.ndarray, like: Volume) -> None:
    """Write `array` [H,W,D] in exactly the grid of the file that `like` came from, see `output.write_grid`.

    Raises:
      UsageError: `path` does not end in `.nii` or `.nii.gz`, or cannot be written.
      ValueError: `array` has another shape than `like`.
    """
    if array.shape != like.array.shape:
        raise ValueError(f"array {array.shape} does not fit {like.path} {like.array.shape}")
    write_grid(path, array, like.header)


def _read_grid(path: Path, max_gb: float) -> Volume:
    """A volume whose shape, numbers and geometry are usable; its voxels may all be equal."""
    decoded = decode(path, max_gb)
    array = decoded.array
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim > 3:
        reason = (
            f"{_sizes(array)} voxels, but one 3-D volume is needed; split the series and pass one of them"
        )
        raise VolumeError(path, "channels", reason)
    if array.ndim < 3 or min(array.shape) < 2:
        raise VolumeError(path, "bad-shape", f"{_sizes(array)} voxels, but one 3-D volume is needed")
    bad = array.size - np.count_nonzero(np.isfinite(array))
    if bad:
        reason = f"{bad} voxels are NaN or infinite; replace them, e.g. by numpy.nan_to_num"
        raise VolumeError(path, "not-finite", reason)
    return Volume(
        array, decoded.affine, spacing_of(decoded.affine, decoded.header, path), decoded.header, path
    )


def spacing_of(affine: np.ndarray, header: nib.Nifti1Header, path: Path) -> tuple[float, float, float]:
    """Voxel size in mm: the lengths of the affine's columns; refuses an affine that cannot be inverted."""
    source = "sform" if header["sform_code"] > 0 else "qform" if header["qform_code"] > 0 else "pixdim"
    with np.errstate(all="ignore"):  # entries may be as large as floats get
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        flat = abs(np.linalg.det(affine[:3, :3])) <= 1e-3 * np.prod(spacing)  # also when a column is zero
    sizes = " x ".join(f"{s:.3g}" for s in spacing)
    if not np.isfinite(affine).all():
        wrong = f"the affine (from the {source}) has NaN or infinite entries"
    elif flat:
        wrong = f"the affine (from the {source}) is {'singular' if affine[:3, :3].any() else 'zero'}"
    elif spacing.min() < 0.01 or spacing.max() > 100:
        wrong = f"voxels of {sizes} mm (from the {source}) cannot be true"
    else:
        return float(spacing[0]), float(spacing[1]), float(spacing[2])
    way_out = "write a correct affine into the header, e.g. with nibabel's set_sform"
    raise VolumeError(path, "bad-affine", f"{wrong}; {way_out}")


def corner_distance(a: np.ndarray, b: np.ndarray, shape: tuple[int, ...]) -> float:
    """Largest distance in mm between the positions that two affines give to the same corner voxel."""
    corners = np.indices((2, 2, 2)).reshape(3, -1).T * (np.array(shape) - 1)
    return float(np.linalg.norm(corners @ (a - b)[:3, :3].T + (a - b)[:3, 3], axis=1).max())


def _sizes(array: np.ndarray) -> str:
    return " x ".join(map(str, array.shape))
