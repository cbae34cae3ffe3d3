"""How does an array come onto another grid, interpolated once?"""

import numpy as np
import SimpleITK as sitk

from cdm_jax.prepare.space import TINY, Space
from cdm_jax.prepare.transforms import voxel_map

INTERPOLATORS = {0: sitk.sitkNearestNeighbor, 1: sitk.sitkLinear, 3: sitk.sitkBSpline}


def resample(
    array: np.ndarray, affine: np.ndarray, target: Space, to_target: np.ndarray, order: int
) -> np.ndarray:
    """`array` [H,W,D], moved by `to_target`, on the grid of `target`; zero outside.

    Where every target voxel meets a voxel of the array, values are copied, not interpolated.

    Args:
      affine: of the array; to_target: [4,4], mm, RAS; order: 0 nearest, which keeps the type, 1 linear, 3
        B-spline, clipped to the array's range; both float32.
    """
    matrix = voxel_map(affine, to_target, target.affine)
    if _meets_voxels(matrix, target.shape):
        matrix, interpolator = np.rint(matrix), sitk.sitkNearestNeighbor
    else:
        interpolator = INTERPOLATORS[order]
    dtype = array.dtype if order == 0 else np.dtype(np.float32)
    stored = array.astype(np.uint8) if array.dtype == bool else array
    moved = _in_voxels(
        stored if order == 0 else stored.astype(np.float32), matrix, target.shape, interpolator
    )
    if order > 1:
        np.clip(moved, min(array.min(), 0), max(array.max(), 0), out=moved)
    return np.ascontiguousarray(moved.astype(dtype, copy=False))


def _in_voxels(
    array: np.ndarray, matrix: np.ndarray, shape: tuple[int, ...], interpolator: int
) -> np.ndarray:
    """Values at `matrix @ voxel`; ITK sees plain voxel numbers, so that no shear is lost."""
    transform = sitk.AffineTransform(matrix[:3, :3].ravel().tolist(), matrix[:3, 3].tolist())
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    resampler = sitk.ResampleImageFilter()  # its grid starts at 0 with steps of 1
    resampler.SetSize(shape)
    resampler.SetTransform(transform)
    resampler.SetInterpolator(interpolator)
    moved = resampler.Execute(image)
    return sitk.GetArrayViewFromImage(moved).T.copy()


def _meets_voxels(matrix: np.ndarray, shape: tuple[int, ...]) -> bool:
    away = np.abs(matrix - np.rint(matrix))[:3] @ np.array([*shape, 1])
    return bool(away.max() < TINY)
