"""Where the model's grid lies in a scan, how arrays move between the two."""

from dataclasses import dataclass

import nibabel as nib
import numpy as np
from scipy import ndimage

from cdm_jax.errors import choose

RAS = np.array([[0, 1], [1, 1], [2, 1]])
TINY = 1e-3  # in voxels: what header affines lose to float32
STEPS = {
    "physical": lambda scan_spacing, spacing: spacing / scan_spacing,
    "half": lambda scan_spacing, spacing: np.full(3, 2.0),  # as published, whatever the scan's voxel size
}
"""How many scan voxels make one model voxel: voxel sizes of the scan and of the model, mm -> steps [3]."""


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


def model_grid(
    affine: np.ndarray,
    mask: np.ndarray,
    spacing: float,
    shape: tuple,
    centre: str,
    resolution: str = "physical",
) -> Grid:
    """Lay a box of `shape` model voxels along the scan's axes, beginning at a face between scan voxels."""
    orientation = nib.orientations.io_orientation(affine)
    turned = nib.orientations.apply_orientation(mask, orientation)
    extent = choose({"mask": _bounding_box, "image": _whole}, centre, "centre")(turned)
    scan_spacing = nib.affines.voxel_sizes(affine)[np.argsort(orientation[:, 0])]
    step = choose(STEPS, resolution, "resolution")(scan_spacing, spacing)
    first = np.array([a + centred(b - a, n * s) for (a, b), n, s in zip(extent, shape, step, strict=True)])
    size = np.ceil(shape * step - TINY).astype(int)
    start = first + (step - 1) / 2  # the centre of the first model voxel, from the box's face
    return Grid(orientation, turned.shape, tuple(shape), step, start, first, size)


def model_affine(affine: np.ndarray, grid: Grid) -> np.ndarray:
    input_shape = np.array(grid.scan_shape)[grid.orientation[:, 0].astype(int)]
    to_input = nib.orientations.inv_ornt_aff(grid.orientation, input_shape)
    return affine @ to_input @ nib.affines.from_matvec(np.diag(grid.step), grid.start)


def centred(length: float, size: float) -> int:
    """First voxel of a window of `size` voxels centred in `length`; halves are rounded away from zero."""
    first = (length - size) / 2
    return int(np.sign(first) * np.ceil(abs(first) - TINY))


def _whole(mask: np.ndarray) -> list[tuple[int, int]]:
    return [(0, n) for n in mask.shape]


def _bounding_box(mask: np.ndarray) -> list[tuple[int, int]]:
    return [(s.start, s.stop) for s in ndimage.find_objects(mask.astype(np.uint8))[0]]


def turn(array: np.ndarray, grid: Grid) -> np.ndarray:
    return nib.orientations.apply_orientation(array, grid.orientation)


def crop_or_pad(array: np.ndarray, first: np.ndarray, size: np.ndarray) -> np.ndarray:
    """The voxels `first ... first + size - 1` of each axis; those beyond the array are zero."""
    output = np.zeros(tuple(size), array.dtype)
    low = np.clip(first, 0, array.shape)
    high = np.clip(first + size, 0, array.shape)
    target = tuple(slice(a - f, b - f) for a, b, f in zip(low, high, first, strict=True))
    output[target] = array[tuple(map(slice, low, high))]
    return output


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


def sample(cropped: np.ndarray, grid: Grid, order: int) -> np.ndarray:
    return resample(cropped, grid.start - grid.first, grid.step, grid.shape, order)
