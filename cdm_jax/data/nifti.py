"""How numbers come out of a NIfTI file that nobody has checked."""

import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError

from cdm_jax.data.names import require_file
from cdm_jax.data.nifti_header import LARGEST_HEADER, MOST_EXTENSIONS, Layout, parse
from cdm_jax.data.stream import HIGHEST_RATIO, head, is_gzip, pieces
from cdm_jax.errors import VolumeError

TRAILING = 1_000_000  # bytes that may follow the voxels
TRUSTED = 128_000_000  # bytes that a gzip header may promise before the stream must prove them


@dataclass(frozen=True, eq=False)
class Decoded:
    """Voxels float32 [stored shape], scaled; voxel-to-world affine (mm) float64 [4,4]; the file's header."""

    array: np.ndarray
    affine: np.ndarray
    header: nib.Nifti1Header


def decode(path: str | os.PathLike, max_gb: float = 2.0) -> Decoded:
    """Read a single-file NIfTI-1 or NIfTI-2 of real numbers, gzipped or not, whatever its name says.

    The header is checked before its voxels get memory, the file is read to its end, and neither takes more
    than one copy as stored and one float32. Header extensions are skipped. Values may be NaN or infinite, and
    the affine singular: that is for the caller to judge.

    Args:
      max_gb: largest size of the voxels, as stored or as float32, in 10^9 bytes.
    Raises:
      UsageError: there is no such file.
      VolumeError: unreadable, truncated, corrupt-gzip, too-large, bad-header, bad-dtype or bad-affine.
    """
    path = require_file(path)
    try:
        with path.open("rb") as file:
            layout, raw = _load(file, path, max_gb)
        return Decoded(_scaled(layout, raw), _affine(layout.header, path), layout.header)
    except VolumeError:
        raise
    except EOFError as error:
        raise VolumeError(path, "truncated", "the gzip stream ends too early") from error
    except zlib.error as error:
        raise VolumeError(path, "corrupt-gzip", f"the gzip stream is damaged ({error})") from error
    except MemoryError as error:
        raise VolumeError(path, "too-large", "its voxels do not fit into memory") from error
    except Exception as error:  # what is left: the disk, and what nobody thought of
        reason = " ".join(str(error).split()) or type(error).__name__
        raise VolumeError(path, "unreadable", f"cannot be read ({reason})") from error


def _load(file: BinaryIO, path: Path, max_gb: float) -> tuple[Layout, np.ndarray]:
    """The layout of the voxels, and their bytes as stored."""
    size, zipped = os.fstat(file.fileno()).st_size, is_gzip(file)
    if size > max_gb * 1e9 + MOST_EXTENSIONS:
        raise VolumeError(
            path, "too-large", f"{size / 1e9:.3g} GB, the limit is {max_gb:g} GB (--max-volume-gb)"
        )
    layout = parse(head(file, zipped, LARGEST_HEADER), path, max_gb)
    if layout.end > size * (HIGHEST_RATIO if zipped else 1):
        raise VolumeError(
            path, "truncated", f"{size} bytes cannot hold the {layout.end} that the header needs"
        )
    if zipped and layout.end > TRUSTED:
        _fill(None, pieces(file, zipped), layout, path)
    raw = np.empty(layout.end - layout.offset, np.uint8)
    _fill(raw, pieces(file, zipped), layout, path)
    return layout, raw


def _fill(raw: np.ndarray | None, content: Iterator[bytes], layout: Layout, path: Path) -> None:
    """Copy the voxels' bytes to `raw`, or nowhere; refuse a file that ends too early or goes on for too long."""
    position = 0
    for piece in content:
        start, stop = (
            min(max(edge - position, 0), len(piece)) + position for edge in (layout.offset, layout.end)
        )
        if raw is not None:
            voxels = np.frombuffer(piece, np.uint8)[start - position : stop - position]
            raw[start - layout.offset : stop - layout.offset] = voxels
        position += len(piece)
        if position > layout.end + TRAILING:
            raise VolumeError(
                path, "too-large", f"goes on after the {layout.end} bytes that its header needs"
            )
    if position < layout.end:
        raise VolumeError(path, "truncated", f"ends after {position} bytes, its header needs {layout.end}")


def _scaled(layout: Layout, raw: np.ndarray) -> np.ndarray:
    """float32 [shape], in C order: stored * slope + inter in float64, plane by plane."""
    stored = raw.view(layout.dtype).reshape(layout.shape, order="F")
    array = np.empty(layout.shape, np.float32)
    slope, inter = layout.header.get_slope_inter()
    with np.errstate(over="ignore", invalid="ignore"):  # becomes infinite or NaN, for the caller to judge
        if slope is None or (slope, inter) == (1, 0):
            array[...] = stored
        else:
            for plane in range(len(array)):
                array[plane] = stored[plane] * np.float64(slope) + np.float64(inter)
    return array


def _affine(header: nib.Nifti1Header, path: Path) -> np.ndarray:
    try:
        with np.errstate(all="ignore"):
            return np.array(header.get_best_affine(), np.float64)
    except (ValueError, HeaderDataError) as error:
        raise VolumeError(path, "bad-affine", f"the qform holds no rotation ({error})") from error
