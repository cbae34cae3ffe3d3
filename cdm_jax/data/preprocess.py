"""How a scan becomes an image in [0, 1] on the model's grid, how results find the way back."""

from dataclasses import dataclass

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from cdm_jax.data.brain_mask import estimate_mask
from cdm_jax.data.volume import Volume
from cdm_jax.errors import VolumeError, choose

RAS = np.array([[0, 1], [1, 1], [2, 1]])
TINY = 1e-3  # in voxels: what header affines lose to float32


@dataclass(frozen=True, eq=False)
class Grid:
    """The model's grid relative to the scan, once its axes are turned to the closest of R, A, S.

    The scan voxel under model voxel i is `start + step * i`, axis by axis. The scan voxels that the box
    touches are `first ... first + size - 1`, some of which may lie beyond the scan.
    """

    orientation: np.ndarray  # nibabel's, from the input's axes to RAS
    scan_shape: tuple[int, ...]
    shape: tuple[int, ...]
    step: np.ndarray
    start: np.ndarray
    first: np.ndarray
    size: np.ndarray


@dataclass(frozen=True, eq=False)
class Prepared:
    """One scan as the model sees it, with everything needed for the way back.

    `image` [H,W,D] float32 in [0, 1], zero outside `mask`; `mask` [H,W,D] bool; `affine` of the model grid;
    `low` and `high`, the input intensities that became 0 and 1; `grid`, its relation to the input.
    """

    image: np.ndarray
    mask: np.ndarray
    affine: np.ndarray
    low: float
    high: float
    grid: Grid


def preprocess(
    volume: Volume,
    mask: np.ndarray | None,
    *,
    spacing: float = 2.0,
    shape: tuple[int, int, int] = (96, 96, 50),
    curvature: bool = True,
    centre: str = "mask",
    antialias: bool = False,
) -> Prepared:
    """Prepare a scan: curvature flow, crop or pad, clip and rescale inside the mask, resample.

    The scan is turned to the closest RAS axes without interpolation, and the box of `shape * spacing` mm is
    laid along the scan's own axes, so that an oblique scan stays oblique. For a 1 mm scan in RAS orientation,
    `centre="image"` gives the published grid.

    Args:
      volume: the scan.
      mask: bool [H,W,D] on the scan's grid; None estimates it (see `estimate_mask`).
      spacing: voxel size of the model grid, mm.
      shape: voxels of the model grid along R, A, S; slices are axial (the last axis).
      curvature: smooth with curvature flow, as published.
      centre: centre the box on the mask's bounding box ("mask") or on the scan ("image").
      antialias: low-pass before coarser sampling; off, as published.

    Raises:
      VolumeError: the mask is empty, of another shape or outside the box, or the scan is constant inside it.
      UsageError: unknown `centre`.

    Source: Behrendt et al. 2025 (arXiv 2312.04215), section on data and preprocessing.
    """
    mask = estimate_mask(volume) if mask is None else mask.astype(bool)
    if mask.shape != volume.array.shape:
        raise VolumeError(f"{volume.path}: shape {volume.array.shape}, but its mask has {mask.shape}")
    if not mask.any():
        raise VolumeError(f"{volume.path}: the brain mask is empty")
    grid = model_grid(volume.affine, mask, spacing, shape, centre)
    scan, inside = _turn(volume.array, grid), crop_or_pad(_turn(mask, grid), grid.first, grid.size)
    if curvature:
        scan = curvature_flow(scan, _scan_spacing(volume, grid))
    scan = crop_or_pad(scan, grid.first, grid.size)
    model_mask = _sample(inside, grid, order=0)
    if not model_mask.any():
        raise VolumeError(f"{volume.path}: the brain mask misses the model's grid of {shape} at {spacing} mm")
    low, high = intensity_range(scan, inside)
    if not high > low:
        raise VolumeError(f"{volume.path}: the scan is constant ({low:g}) inside the brain mask")
    scan = rescale(scan, low, high)
    if antialias:
        scan = low_pass(scan, grid.step)
    image = np.where(model_mask, np.clip(_sample(scan, grid, order=3), 0, 1), 0).astype(np.float32)
    return Prepared(image, model_mask, _model_affine(volume.affine, grid), low, high, grid)


# --- The published steps


def curvature_flow(array: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    """Smooth by curvature flow for 0.375 mm^2: three steps of 0.125 at 1 mm, as published.

    The explicit scheme is stable up to about h^2 / 6 for voxels of h mm: finer scans take more, shorter
    steps.
    """
    total = 3 * 0.125
    steps = max(3, int(np.ceil(total / (0.125 * min(spacing) ** 2) - TINY)))
    image = sitk.GetImageFromArray(array.T.astype(np.float32))
    image.SetSpacing([float(s) for s in spacing])
    return sitk.GetArrayFromImage(sitk.CurvatureFlow(image, total / steps, steps)).T


def centred(length: float, size: float) -> int:
    """First voxel of a window of `size` voxels centred in `length`; halves are rounded away from zero."""
    first = (length - size) / 2
    return int(np.sign(first) * np.ceil(abs(first) - TINY))


def crop_or_pad(array: np.ndarray, first: np.ndarray, size: np.ndarray) -> np.ndarray:
    """The voxels `first ... first + size - 1` of each axis; those beyond the array are zero."""
    output = np.zeros(tuple(size), array.dtype)
    low = np.clip(first, 0, array.shape)
    high = np.clip(first + size, 0, array.shape)
    target = tuple(slice(a - f, b - f) for a, b, f in zip(low, high, first, strict=True))
    output[target] = array[tuple(map(slice, low, high))]
    return output


def intensity_range(array: np.ndarray, mask: np.ndarray) -> tuple[float, float]:
    """The 1st and 99th percentile inside the mask, linear between ranks."""
    low, high = np.percentile(array[mask], (1, 99))
    return float(low), float(high)


def rescale(array: np.ndarray, low: float, high: float) -> np.ndarray:
    """Clip to [low, high] and map to [0, 1]."""
    return ((np.clip(array, low, high) - low) / (high - low)).astype(np.float32)


def resample(array: np.ndarray, start: np.ndarray, step: np.ndarray, shape: tuple, order: int) -> np.ndarray:
    """Values at the voxels `start + step * i`: nearest (order 0), linear (1) or B-spline (3), edges mirrored.

    Nearest takes the upper voxel when two are equally near.
    """
    if order == 0:
        axes = zip(start, step, shape, array.shape, strict=True)
        nearest = [np.floor(a + s * np.arange(n) + 0.5 + TINY).clip(0, end - 1) for a, s, n, end in axes]
        return array[np.ix_(*(index.astype(int) for index in nearest))]
    return ndimage.affine_transform(
        array.astype(np.float32), step, offset=start, output_shape=tuple(shape), order=order, mode="mirror"
    )


def low_pass(array: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Gaussian with the variance by which a box of `step` voxels exceeds a box of one."""
    return ndimage.gaussian_filter(array, np.sqrt(np.maximum(np.square(step) - 1, 0) / 12))


# --- From the input's grid to the model's, and back


def model_grid(affine: np.ndarray, mask: np.ndarray, spacing: float, shape: tuple, centre: str) -> Grid:
    """Lay a box of `shape * spacing` mm along the scan's axes, beginning at a face between scan voxels."""
    orientation = nib.orientations.io_orientation(affine)
    turned = nib.orientations.apply_orientation(mask, orientation)
    extent = choose({"mask": _bounding_box, "image": _whole}, centre, "centre")(turned)
    scan_spacing = nib.affines.voxel_sizes(affine)[np.argsort(orientation[:, 0])]
    step = spacing / scan_spacing
    first = np.array([a + centred(b - a, n * s) for (a, b), n, s in zip(extent, shape, step, strict=True)])
    size = np.ceil(shape * step - TINY).astype(int)
    start = first + (step - 1) / 2  # the centre of the first model voxel, from the box's face
    return Grid(orientation, turned.shape, tuple(shape), step, start, first, size)


def to_model_grid(array: np.ndarray, prepared: Prepared, order: int = 0) -> np.ndarray:
    """Bring an array on the input's grid onto the model's: nearest (order 0), linear (1) or B-spline (3).

    At an even ratio of spacings nearest, as published, shifts labels by half a scan voxel (the tie goes up);
    `to_model_fraction(...) >= 0.5` does not.
    """
    grid = prepared.grid
    return _sample(crop_or_pad(_turn(array, grid), grid.first, grid.size), grid, order)


def to_model_fraction(array: np.ndarray, prepared: Prepared) -> np.ndarray:
    """Mean of the input over each model voxel, by volume: of a label map, the share of the voxel it fills."""
    grid = prepared.grid
    result = crop_or_pad(_turn(array, grid), grid.first, grid.size).astype(np.float32)
    for axis in range(3):
        start = grid.start[axis] - grid.first[axis]
        weights = _overlap(start, grid.step[axis], result.shape[axis], grid.shape[axis])
        result = np.moveaxis(np.tensordot(weights, result, (1, axis)), 0, axis)
    return result


def to_input_grid(array: np.ndarray, prepared: Prepared, order: int = 1) -> np.ndarray:
    """Bring an array on the model's grid back to the input's grid and orientation; zero outside the box.

    Nearest (order 0, keeps the type), linear (1) or B-spline (3), which rings for some 8 mm around an edge.
    """
    grid = prepared.grid
    # The box's faces, half a model voxel beyond its centres; it holds the scan voxels centred between them.
    faces = grid.start - grid.step / 2, grid.start + (np.array(grid.shape) - 0.5) * grid.step
    low, high = (np.ceil(face - TINY).astype(int).clip(0, grid.scan_shape) for face in faces)
    box = resample(array, (low - grid.start) / grid.step, 1 / grid.step, high - low, order)
    scan = np.zeros(grid.scan_shape, box.dtype)
    scan[tuple(map(slice, low, high))] = box
    back = nib.orientations.ornt_transform(RAS, grid.orientation)
    return np.ascontiguousarray(nib.orientations.apply_orientation(scan, back))


def masked_to_input_grid(array: np.ndarray, prepared: Prepared) -> np.ndarray:
    """As `to_input_grid`, linear, but from the voxels inside the mask alone: values do not fade at its rim.

    They reach up to one model voxel beyond the mask, and are zero from there on.
    """
    weight = to_input_grid(prepared.mask.astype(np.float32), prepared)
    total = to_input_grid(np.where(prepared.mask, array, 0).astype(np.float32), prepared)
    return np.divide(total, weight, out=np.zeros_like(total), where=weight > TINY)


def to_input_intensity(image: np.ndarray, prepared: Prepared) -> np.ndarray:
    """Undo the rescaling: 0 -> `low`, 1 -> `high`. The background becomes `low` too."""
    return (prepared.low + image * (prepared.high - prepared.low)).astype(np.float32)


def _turn(array: np.ndarray, grid: Grid) -> np.ndarray:
    return nib.orientations.apply_orientation(array, grid.orientation)


def _sample(cropped: np.ndarray, grid: Grid, order: int) -> np.ndarray:
    return resample(cropped, grid.start - grid.first, grid.step, grid.shape, order)


def _scan_spacing(volume: Volume, grid: Grid) -> tuple[float, ...]:
    return tuple(np.array(volume.spacing)[np.argsort(grid.orientation[:, 0])])


def _model_affine(affine: np.ndarray, grid: Grid) -> np.ndarray:
    input_shape = np.array(grid.scan_shape)[grid.orientation[:, 0].astype(int)]
    to_input = nib.orientations.inv_ornt_aff(grid.orientation, input_shape)
    return affine @ to_input @ nib.affines.from_matvec(np.diag(grid.step), grid.start)


def _whole(mask: np.ndarray) -> list[tuple[int, int]]:
    return [(0, n) for n in mask.shape]


def _bounding_box(mask: np.ndarray) -> list[tuple[int, int]]:
    return [(s.start, s.stop) for s in ndimage.find_objects(mask.astype(np.uint8))[0]]


def _overlap(start: float, step: float, length: int, count: int) -> np.ndarray:
    """Share of model voxel j (row) that scan voxel i (column) covers along one axis."""
    scan = np.arange(length)
    face = start + step * (np.arange(count)[:, None] - 0.5)
    covered = np.minimum(scan + 0.5, face + step) - np.maximum(scan - 0.5, face)
    return (np.clip(covered, 0, None) / step).astype(np.float32)
