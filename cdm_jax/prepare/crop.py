"""Which part of a grid holds the brain?"""

import nibabel as nib
import numpy as np
from scipy import ndimage

from cdm_jax.prepare.space import Space


def brain_box(mask: np.ndarray) -> tuple[slice, ...]:
    """The smallest box that holds all of `mask`, its last slices included."""
    return ndimage.find_objects(mask.astype(np.uint8))[0]


def cut(space: Space, box: tuple[slice, ...]) -> Space:
    """The grid of that box: its first voxel's centre is the new origin, so that nothing moves in the world."""
    first = np.array([part.start for part in box])
    shape = tuple(part.stop - part.start for part in box)
    return Space(shape, space.affine @ nib.affines.from_matvec(np.eye(3), first))
