"""How a scan becomes an image in [0, 1] on the model's grid, how results find the way back."""

import math
from dataclasses import dataclass

import nibabel as nib
import numpy as np

from cdm_jax.data.brain_mask import estimate_mask
from cdm_jax.data.grid import RAS, TINY, Grid, crop_or_pad, model_affine, model_grid, resample, sample, turn
from cdm_jax.data.intensity import curvature_flow, intensity_range, low_pass, rescale
from cdm_jax.data.volume import Volume
from cdm_jax.errors import VolumeError


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

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Size of a model voxel along R, A, S in mm."""
        x, y, z = nib.affines.voxel_sizes(self.affine).tolist()
        return x, y, z


def preprocess(
    volume: Volume,
    mask: np.ndarray | None,
    *,
    spacing: float = 2.0,
    shape: tuple[int, int, int] = (96, 96, 50),
    curvature: bool = True,
    centre: str = "mask",
    antialias: bool = False,
    resolution: str = "physical",
    max_gb: float = 2.0,
) -> Prepared:
    """Prepare a scan: curvature flow, crop or pad, clip and rescale inside the mask, resample.

    The scan is turned to the closest RAS axes without interpolation, and the model grid is laid along the
    scan's own axes, so that an oblique scan stays oblique. For a scan in RAS orientation, `centre="image"` and
    `resolution="half"` give the published grid; at 1 mm, 2 mm "physical" is the same.

    Args:
      volume: the scan.
      mask: bool [H,W,D] on the scan's grid; None estimates it (see `estimate_mask`).
      spacing: voxel size of the model grid, mm; unused by "half".
      shape: voxels of the model grid along R, A, S; slices are axial (the last axis).
      curvature: smooth with curvature flow, as published.
      centre: centre the box on the mask's bounding box ("mask") or on the scan ("image").
      antialias: low-pass before coarser sampling; off, as published.
      resolution: voxels of `spacing` mm ("physical"), or of twice the scan's size on each axis ("half").

      max_gb: largest size of the model grid's box in voxels of the scan, float32, in 10^9 bytes.

    Raises:
      VolumeError: the mask is empty, of another shape or outside the box, the scan is constant inside it, or its
        voxels are so small that the box holds too many.
      UsageError: unknown `centre` or `resolution`.

    Source: Behrendt et al. 2025 (arXiv 2312.04215), section on data and preprocessing.
    """
    mask = estimate_mask(volume) if mask is None else mask.astype(bool)
    if mask.shape != volume.array.shape:
        reason = f"shape {volume.array.shape}, but its mask has {mask.shape}"
        raise VolumeError(volume.path, "shape-mismatch", reason)
    if not mask.any():
        raise VolumeError(volume.path, "empty-mask", "the brain mask is empty")
    grid = model_grid(volume.affine, mask, spacing, shape, centre, resolution)
    if (needed := math.prod(grid.size.tolist()) * 4 / 1e9) > max_gb:
        reason = f"the model's grid covers {needed:.3g} GB of voxels this small, the limit is {max_gb:g} GB"
        raise VolumeError(volume.path, "too-large", f"{reason} (--max-volume-gb); resample it, e.g. to 1 mm")
    scan, inside = turn(volume.array, grid), crop_or_pad(turn(mask, grid), grid.first, grid.size)
    if curvature:
        scan = curvature_flow(scan, _scan_spacing(volume, grid))
    scan = crop_or_pad(scan, grid.first, grid.size)
    model_mask = sample(inside, grid, order=0)
    if not model_mask.any():
        raise VolumeError(volume.path, "empty-mask", f"the brain mask misses the model's grid of {shape}")
    low, high = intensity_range(scan, inside)
    if not high > low:
        raise VolumeError(volume.path, "constant", f"the scan is constant ({low:g}) inside the brain mask")
    scan = rescale(scan, low, high)
    if antialias:
        scan = low_pass(scan, grid.step)
    image = np.where(model_mask, np.clip(sample(scan, grid, order=3), 0, 1), 0).astype(np.float32)
    return Prepared(image, model_mask, model_affine(volume.affine, grid), low, high, grid)


def to_model_grid(array: np.ndarray, prepared: Prepared, order: int = 0) -> np.ndarray:
    """Bring an array on the input's grid onto the model's: nearest (order 0), linear (1) or B-spline (3).

    At an even ratio of spacings nearest, as published, shifts labels by half a scan voxel (the tie goes up);
    `to_model_fraction(...) >= 0.5` does not.
    """
    grid = prepared.grid
    return sample(crop_or_pad(turn(array, grid), grid.first, grid.size), grid, order)


def to_model_fraction(array: np.ndarray, prepared: Prepared) -> np.ndarray:
    """Mean of the input over each model voxel, by volume: of a label map, the share of the voxel it fills."""
    grid = prepared.grid
    result = crop_or_pad(turn(array, grid), grid.first, grid.size).astype(np.float32)
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


def _scan_spacing(volume: Volume, grid: Grid) -> tuple[float, ...]:
    return tuple(np.array(volume.spacing)[np.argsort(grid.orientation[:, 0])])


def _overlap(start: float, step: float, length: int, count: int) -> np.ndarray:
    """Share of model voxel j (row) that scan voxel i (column) covers along one axis."""
    scan = np.arange(length)
    face = start + step * (np.arange(count)[:, None] - 0.5)
    covered = np.minimum(scan + 0.5, face + step) - np.maximum(scan - 0.5, face)
    return (np.clip(covered, 0, None) / step).astype(np.float32)
