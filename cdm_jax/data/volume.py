"""How a scan comes from a NIfTI file, how a result goes back into the same grid."""

import itertools
import os
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from cdm_jax.errors import UsageError, VolumeError
from cdm_jax.files import atomic_path

SUFFIXES = (".nii.gz", ".nii")


@dataclass(frozen=True, eq=False)
class Volume:
    """One 3-D scan: voxels [H,W,D] float32, voxel-to-world affine (mm) and the header it was read with."""

    array: np.ndarray
    affine: np.ndarray
    spacing: tuple[float, float, float]
    header: nib.Nifti1Header
    path: Path


def stem(path: str | os.PathLike) -> str:
    """The file's name without `.nii` or `.nii.gz`."""
    name = Path(path).name
    for suffix in SUFFIXES:
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


def list_volumes(path: str | os.PathLike) -> list[Path]:
    """The file `path`, or the NIfTI files directly inside the folder `path`, sorted, hidden ones skipped.

    Masks and label maps in the same folder are listed like any other file: keep them in folders of their own.

    Raises:
      UsageError: `path` does not exist, or is a folder without NIfTI files.
    """
    path = Path(path)
    if not path.is_dir():
        _require(path)
        return [path]
    found = sorted(
        p for p in path.iterdir() if stem(p) != p.name and not p.name.startswith(".") and p.is_file()
    )
    if not found:
        raise UsageError(f"{path}: the folder holds no .nii or .nii.gz file")
    return found


def read(path: str | os.PathLike) -> Volume:
    """Read a 3-D NIfTI-1 or NIfTI-2 file (`.nii`, `.nii.gz`); trailing axes of length 1 are dropped.

    Raises:
      UsageError: there is no such file.
      VolumeError: anything that makes the file unusable as a scan, in one line that begins with the path.
    """
    volume = _read_grid(Path(path))
    if volume.array.min() == volume.array.max():
        raise VolumeError(f"{path}: every voxel is {volume.array.flat[0]:g}, there is nothing to see in it")
    return volume


def read_mask(path: str | os.PathLike, like: Volume) -> np.ndarray:
    """Read the brain mask of `like`: bool [H,W,D], true where the file is above one half.

    Raises:
      UsageError: there is no such file.
      VolumeError: unreadable, on another grid than `like`, or empty.
    """
    mask = read_seg(path, like)
    if not mask.any():
        raise VolumeError(f"{path}: the mask is empty (no voxel above 0.5)")
    return mask


def read_seg(path: str | os.PathLike, like: Volume) -> np.ndarray:
    """Read the lesion labels of `like`: bool [H,W,D], the union of all labels; it may be empty.

    Raises:
      UsageError: there is no such file.
      VolumeError: unreadable, or on another grid than `like`.
    """
    volume = _read_grid(Path(path))
    if volume.array.shape != like.array.shape:
        raise VolumeError(f"{path}: {_sizes(volume.array)} voxels, but {like.path} has {_sizes(like.array)}")
    apart = _corner_distance(volume.affine, like.affine, like.array.shape)
    if apart > min(like.spacing) / 2:
        raise VolumeError(
            f"{path}: lies up to {apart:.1f} mm away from {like.path}; bring it onto that grid first, "
            "e.g. nilearn.image.resample_to_img(..., interpolation='nearest')"
        )
    return volume.array > 0.5


def write(path: str | os.PathLike, array: np.ndarray, like: Volume) -> None:
    """Write `array` [H,W,D] (bool or uint8 as uint8, else float32) in exactly the grid of `like`.

    Dimensions, sform, qform, their codes, pixdim and units are, bit for bit, those of the file `like` came
    from; intensity fields, intent and extensions, which describe the input's voxels, are reset.

    Raises:
      UsageError: `path` does not end in `.nii` or `.nii.gz`, or cannot be written.
      ValueError: `array` has another shape than `like`.
    """
    path = Path(path)
    if stem(path) == path.name:
        raise UsageError(f"{path}: the output's name must end in .nii or .nii.gz")
    if array.shape != like.array.shape:
        raise ValueError(f"array {array.shape} does not fit {like.path} {like.array.shape}")
    header = _output_header(like.header, np.uint8 if array.dtype in (bool, np.uint8) else np.float32)
    voxels = array.astype(header.get_data_dtype()).reshape(header.get_data_shape())
    image_class = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
    # No affine is handed over: given one, nibabel may rewrite sform, qform and their codes.
    image = image_class(voxels, None, header)
    with atomic_path(path) as temporary:
        image.to_filename(temporary)


def _output_header(header: nib.Nifti1Header, dtype: type) -> nib.Nifti1Header:
    header = header.copy()
    header.extensions.clear()
    header.set_data_dtype(dtype)
    header.set_slope_inter(1, 0)
    header.set_intent("none", allow_unknown=True)
    header["vox_offset"] = 0
    header["cal_min"] = header["cal_max"] = 0
    header["descrip"] = b"cdm_jax"
    header["aux_file"] = b""
    return header


def _require(path: Path) -> None:
    if path.is_dir():
        raise UsageError(f"{path}: is a folder, one NIfTI file is needed")
    if not path.exists():
        raise UsageError(f"{path}: no such file")


def _read_grid(path: Path) -> Volume:
    """A volume whose shape, numbers and geometry are usable; its voxels may all be equal."""
    _require(path)
    array, image = _decode(path)
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim != 3 or min(array.shape) < 2:
        raise VolumeError(f"{path}: {_sizes(array)} voxels, but one 3-D volume is needed{_shape_hint(array)}")
    bad = array.size - np.count_nonzero(np.isfinite(array))
    if bad:
        raise VolumeError(f"{path}: {bad} voxels are NaN or infinite; replace them, e.g. by numpy.nan_to_num")
    affine = np.array(image.affine, np.float64)
    return Volume(array, affine, _spacing(affine, image.header, path), image.header.copy(), path)


def _decode(path: Path) -> tuple[np.ndarray, nib.Nifti1Image]:
    try:
        image = nib.load(path)
        if not isinstance(image, nib.Nifti1Image):
            raise TypeError(f"a {type(image).__name__}; convert it, e.g. nib-convert IN OUT.nii.gz")
        dtype = image.get_data_dtype()
        if dtype.kind not in "biuf":
            raise TypeError(f"voxels of type {image.header['datatype']} ({dtype}), one real number is needed")
        with np.errstate(over="ignore"):  # what does not fit float32 becomes infinite and is refused as such
            return np.array(image.dataobj, np.float32, order="C"), image
    except TypeError as error:
        raise VolumeError(f"{path}: {_one_line(error)}") from error
    except Exception as error:  # a damaged file makes nibabel, gzip and numpy fail in a dozen ways
        raise VolumeError(f"{path}: not a readable NIfTI file ({_one_line(error)})") from error


def _spacing(affine: np.ndarray, header: nib.Nifti1Header, path: Path) -> tuple[float, float, float]:
    """Voxel size in mm: the lengths of the affine's columns; refuses an affine that cannot be inverted."""
    source = "sform" if header["sform_code"] > 0 else "qform" if header["qform_code"] > 0 else "pixdim"
    way_out = "write a correct affine into the header, e.g. with nibabel's set_sform"
    if not np.isfinite(affine).all():
        raise VolumeError(f"{path}: the affine (from the {source}) has NaN or infinite entries; {way_out}")
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    volume = abs(np.linalg.det(affine[:3, :3]))
    if volume <= 1e-3 * np.prod(spacing):  # also true when a column, or all of it, is zero
        kind = "zero" if not affine[:3, :3].any() else "singular"
        raise VolumeError(f"{path}: the affine (from the {source}) is {kind}; {way_out}")
    sizes = " x ".join(f"{s:.3g}" for s in spacing)
    if spacing.min() < 0.01 or spacing.max() > 100:
        raise VolumeError(f"{path}: voxels of {sizes} mm (from the {source}) cannot be true; {way_out}")
    return float(spacing[0]), float(spacing[1]), float(spacing[2])


def _corner_distance(a: np.ndarray, b: np.ndarray, shape: tuple[int, ...]) -> float:
    """Largest distance in mm between the positions that two affines give to the same corner voxel."""
    corners = np.array(
        list(
            itertools.product(
                *(
                    (
                        0,
                        n - 1,
                    )
                    for n in shape
                )
            )
        )
    )
    return float(np.linalg.norm(corners @ (a - b)[:3, :3].T + (a - b)[:3, 3], axis=1).max())


def _shape_hint(array: np.ndarray) -> str:
    return "; split the series and pass one of its volumes" if array.ndim > 3 else ""


def _sizes(array: np.ndarray) -> str:
    return " x ".join(map(str, array.shape))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
