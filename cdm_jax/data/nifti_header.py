"""What a NIfTI header says about its voxels, believed only as far as it makes sense."""

import logging
import math
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError

from cdm_jax.errors import VolumeError

HEADERS = (nib.Nifti1Header, nib.Nifti2Header)
LARGEST_HEADER = 540  # bytes, of NIfTI-2
MOST_EXTENSIONS = 64_000_000  # bytes between header and voxels; whole DICOM headers are kept there
OTHERS = {  # (first byte, what stands there): what the file is
    (0, b"\x00\x00\x00\x01"): "an MGH file; convert it, e.g. by nib-convert IN OUT.nii.gz",
    (0, b"NRRD"): "an NRRD file; convert it, e.g. by SimpleITK",
    (128, b"DICM"): "one DICOM file; convert its series, e.g. by dcm2niix",
    (0, b"PK\x03\x04"): "a zip archive; unpack it",
    (0, b"version https://git-lfs"): "a pointer to a file in Git LFS; fetch the file itself",
    (0, b"<"): "text that looks like a web page; download the file again",
}
QUIET = logging.getLogger(__name__)
QUIET.propagate = False  # what nibabel repairs in passing is nothing to print
QUIET.addHandler(logging.NullHandler())


@dataclass(frozen=True, eq=False)
class Layout:
    """Where the voxels lie in a file: `shape` of `dtype`, first axis fastest, from byte `offset` to `end`."""

    header: nib.Nifti1Header
    dtype: np.dtype
    shape: tuple[int, ...]
    offset: int
    end: int


def parse(head: bytes, path: Path, max_gb: float) -> Layout:
    """The layout that the first bytes of a file promise; nothing is allocated for it.

    Raises:
      VolumeError: unreadable, truncated, bad-header, bad-dtype, too-large, bad-affine.
    """
    header = _header(head, path)
    shape, dtype = _shape(header, path), _dtype(header, path)
    # In Python's integers, which do not overflow; the working copy is float32.
    working = math.prod(shape) * max(dtype.itemsize, 4) / 1e9
    if working > max_gb:
        sizes = " x ".join(map(str, shape))
        reason = f"{sizes} voxels need {working:.3g} GB, the limit is {max_gb:g} GB (--max-volume-gb)"
        raise VolumeError(path, "too-large", reason)
    offset = _offset(header, path)
    if not np.isfinite(header["pixdim"][1:4]).all():
        raise VolumeError(path, "bad-affine", "the voxel size (pixdim) has NaN or infinite entries")
    try:
        header.check_fix(logger=QUIET, error_level=40)
        header.get_slope_inter()
    except HeaderDataError as error:
        raise VolumeError(path, "bad-header", f"the header contradicts itself ({error})") from error
    return Layout(header, dtype, shape, offset, offset + math.prod(shape) * dtype.itemsize)


def _header(head: bytes, path: Path) -> nib.Nifti1Header:
    """The header by its first field, its own size, which also tells the byte order; then by its magic."""
    if not head:
        raise VolumeError(path, "truncated", "the file is empty")
    for kind in HEADERS:
        for sign in "<>":
            if int.from_bytes(head[:4], "little" if sign == "<" else "big") == kind.sizeof_hdr:
                return _checked(kind, head[: kind.sizeof_hdr], sign, path)
    what = [f" but {what}" for (at, magic), what in OTHERS.items() if head[at:].startswith(magic)]
    raise VolumeError(path, "unreadable", f"not a NIfTI file{''.join(what)}")


def _checked(kind: type[nib.Nifti1Header], head: bytes, sign: str, path: Path) -> nib.Nifti1Header:
    if len(head) < kind.sizeof_hdr:
        raise VolumeError(path, "truncated", f"the file ends after {len(head)} bytes, inside its header")
    header = kind(head, sign, check=False)
    magic = header["magic"].item()
    if magic not in (kind.single_magic, kind.pair_magic):
        raise VolumeError(path, "unreadable", f"not a NIfTI file: its magic is {magic!r}")
    if magic == kind.pair_magic and header["vox_offset"] == 0:
        reason = "only the header of a pair .hdr and .img; join them, e.g. by nib-convert IN.hdr OUT.nii.gz"
        raise VolumeError(path, "unreadable", reason)
    return header


def _shape(header: nib.Nifti1Header, path: Path) -> tuple[int, ...]:
    count, *sizes = header["dim"].tolist()
    if not 1 <= count <= 7:
        raise VolumeError(path, "bad-header", f"{count} dimensions, 1 to 7 are possible")
    if min(sizes[:count]) < 1:
        raise VolumeError(path, "bad-header", f"dimensions {' x '.join(map(str, sizes[:count]))}")
    return tuple(sizes[:count])


def _dtype(header: nib.Nifti1Header, path: Path) -> np.dtype:
    code = int(header["datatype"])
    try:
        dtype = header.get_data_dtype()
    except (HeaderDataError, KeyError):
        raise VolumeError(path, "bad-dtype", f"data type {code} is unknown") from None
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        reason = f"voxels of type {code} ({dtype}), one real number of at most 64 bits is needed"
        raise VolumeError(path, "bad-dtype", reason)
    return dtype


def _offset(header: nib.Nifti1Header, path: Path) -> int:
    offset = header["vox_offset"].item()
    # The comparison is false for NaN.
    if not header.single_vox_offset <= offset <= header.single_vox_offset + MOST_EXTENSIONS:
        reason = (
            f"voxels from byte {offset:g}, possible are {header.single_vox_offset} to {MOST_EXTENSIONS:,}"
        )
        raise VolumeError(path, "bad-header", reason)
    return int(offset)
