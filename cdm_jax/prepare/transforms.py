"""How do positions in one space become positions in another?

A matrix [4,4] takes homogeneous positions in millimetres, in RAS, from the space of one scan to that of
another. ITK counts in LPS, and its images have orthogonal axes.
"""

from collections.abc import Iterable
from functools import reduce

import nibabel as nib
import numpy as np
import SimpleITK as sitk

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # its own inverse
Linear = sitk.AffineTransform | sitk.Euler3DTransform


def chain(matrices: Iterable[np.ndarray]) -> np.ndarray:
    """The one matrix that does what `matrices` do one after the other."""
    return reduce(lambda done, step: step @ done, matrices, np.eye(4))


def invert(matrix: np.ndarray) -> np.ndarray:
    """The way back. Raises: numpy.linalg.LinAlgError: there is none."""
    inverse = np.linalg.inv(matrix)
    inverse[3] = (0, 0, 0, 1)  # exactly
    return inverse


def voxel_map(source: np.ndarray, source_to_target: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The source voxel under each target voxel, both given by their voxel-to-world affines."""
    return invert(source) @ invert(source_to_target) @ target


def to_itk(array: np.ndarray, affine: np.ndarray) -> tuple[sitk.Image, np.ndarray]:
    """The image [H,W,D] as ITK has it, and the matrix from where ITK places it to where `affine` does.

    The two differ only for a sheared affine, whose axes are turned to the closest orthogonal ones.
    """
    spacing = nib.affines.voxel_sizes(affine)
    left, _, right = np.linalg.svd(affine[:3, :3] / spacing)
    placed = nib.affines.from_matvec(left @ right * spacing, affine[:3, 3])
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    image.SetSpacing(spacing.tolist())
    image.SetOrigin((LPS @ placed)[:3, 3].tolist())
    image.SetDirection((LPS[:3, :3] @ left @ right).ravel().tolist())
    return image, affine @ invert(placed)


def point_to_itk(point: np.ndarray) -> list[float]:
    """A position in RAS as ITK counts it."""
    return (LPS[:3, :3] @ point).tolist()


def from_itk(transform: Linear) -> np.ndarray:
    """The matrix of ITK's affine or rigid transform, which takes the fixed image's space to the moving's."""
    linear = np.array(transform.GetMatrix()).reshape(3, 3)
    centre = np.array(transform.GetCenter())
    shift = np.array(transform.GetTranslation()) + centre - linear @ centre
    return LPS @ nib.affines.from_matvec(linear, shift) @ LPS
