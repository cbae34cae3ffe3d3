"""What is wrong with one file, looked at alone?"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError

from cdm_jax.data.check.fault import times
from cdm_jax.data.nifti import Decoded, decode
from cdm_jax.data.volume import corner_distance, spacing_of
from cdm_jax.errors import UsageError, VolumeError

WHOLE = 1e-3  # how far from a whole number a label may lie: what scaling by slope and intercept costs

Finding = tuple[str, str]
"""(code, what is wrong)."""


@dataclass(frozen=True, eq=False)
class Grid:
    """How many voxels there are along each axis, and their affine [4,4], None if it is unusable."""

    shape: tuple[int, ...]
    affine: np.ndarray | None


@dataclass(frozen=True, eq=False)
class Opened:
    """A file as far as it can be used: voxels float32 [H,W,D] and their grid, None if it is no volume."""

    path: Path
    findings: tuple[Finding, ...]
    array: np.ndarray | None = None
    grid: Grid | None = None


def open_file(path: Path, judge: Callable[[np.ndarray], Iterable[Finding]], max_gb: float) -> Opened:
    """Read a file to its end; `judge` says what is wrong with the voxels of what the file should be."""
    try:
        decoded = decode(path, max_gb)
    except VolumeError as error:
        return Opened(path, ((error.code, error.reason),))
    except UsageError as error:
        return Opened(path, (("missing", str(error).removeprefix(f"{path}: ")),))
    array = decoded.array
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    findings = [*_shape_findings(array), *_value_findings(array)]
    if array.ndim != 3:
        return Opened(path, tuple(findings))
    grid, misplaced = _place(decoded, array, path)
    return Opened(path, (*findings, *judge(array), *misplaced), array, grid)


def image_findings(array: np.ndarray) -> Iterator[Finding]:
    """What makes voxels useless as a scan."""
    finite = array[np.isfinite(array)]
    if len(finite) and finite.min() == finite.max():
        yield "constant", f"every voxel is {finite[0]:g}"


def mask_findings(array: np.ndarray) -> Iterator[Finding]:
    """What makes voxels useless as a brain mask."""
    yield from label_findings(array)
    inside = array > 0.5
    if not inside.any():
        yield "empty-mask", "no voxel is above 0.5"
    elif inside.all():
        yield "full-mask", "every voxel is above 0.5"


def label_findings(array: np.ndarray) -> Iterator[Finding]:
    """Values that are no labels."""
    finite = array[np.isfinite(array)]
    wrong = finite[(finite < -WHOLE) | (np.abs(finite - np.rint(finite)) > WHOLE)]
    if len(wrong):
        yield "not-labels", f"{len(wrong)} voxels hold no label, such as {wrong[0]:g}"


def _shape_findings(array: np.ndarray) -> Iterator[Finding]:
    if array.ndim > 3:
        yield "channels", f"{times(array.shape)} voxels"
    elif array.ndim < 3 or min(array.shape) < 2:
        yield "bad-shape", f"{times(array.shape)} voxels"


def _value_findings(array: np.ndarray) -> Iterator[Finding]:
    bad = array.size - np.count_nonzero(np.isfinite(array))
    if bad:
        yield "not-finite", f"{bad} of {array.size} voxels are NaN or infinite"


def _place(decoded: Decoded, array: np.ndarray, path: Path) -> tuple[Grid, list[Finding]]:
    """The grid, and what is wrong with the header's word on it."""
    try:
        mm = spacing_of(decoded.affine, decoded.header, path)
    except VolumeError as error:
        return Grid(array.shape, None), [(error.code, error.reason.partition(";")[0])]
    return Grid(array.shape, decoded.affine), list(_two_places(decoded.header, array.shape, mm))


def _two_places(header: nib.Nifti1Header, shape: tuple, mm: tuple[float, ...]) -> Iterator[Finding]:
    """Whether sform and qform, where both are set, put some corner more than half a voxel apart."""
    if header["sform_code"] <= 0 or header["qform_code"] <= 0:
        return
    try:
        apart = corner_distance(header.get_sform(), header.get_qform(), shape)
    except (ValueError, HeaderDataError) as error:
        yield "sform-qform", f"the qform holds no rotation ({error})"
        return
    if not apart <= min(mm) / 2:  # also where the distance is NaN
        # The standard lets the two lead to different spaces, such as a template's and the scanner's.
        code = "sform-qform" if header["sform_code"] == header["qform_code"] else "two-spaces"
        yield code, f"they place the same voxel up to {apart:.1f} mm apart"
