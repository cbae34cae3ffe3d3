"""Which voxels does a grid have, where in the world do they lie?"""

from dataclasses import dataclass

import nibabel as nib
import numpy as np

from cdm_jax.data.volume import Volume

TINY = 1e-3  # in voxels: what header affines lose to float32


@dataclass(frozen=True, eq=False)
class Space:
    """A grid: its voxels (H, W, D) and its voxel-to-world affine [4,4] (mm, RAS)."""

    shape: tuple[int, ...]
    affine: np.ndarray


def space_of(volume: Volume) -> Space:
    """The grid of a scan."""
    return Space(volume.array.shape, volume.affine)


def same_space(a: Space, b: Space) -> bool:
    """Whether two grids are one, but for what headers lose."""
    return a.shape == b.shape and np.allclose(a.affine, b.affine, atol=TINY)


def at_spacing(space: Space, spacing: float) -> Space:
    """The same box with voxels of `spacing` mm, from the same first face on; `space` itself if it has them."""
    step = spacing / nib.affines.voxel_sizes(space.affine)
    if np.allclose(step, 1, atol=TINY):
        return space
    shape = np.ceil(np.array(space.shape) / step - TINY).astype(int)
    return Space(tuple(shape.tolist()), space.affine @ nib.affines.from_matvec(np.diag(step), (step - 1) / 2))


def as_stored(space: Space) -> Space:
    """The grid that a NIfTI header, whose affine is float32, gives back."""
    return Space(space.shape, space.affine.astype(np.float32).astype(np.float64))


def new_header(space: Space, code: str) -> nib.Nifti1Header:
    """A header of that grid, in mm; with a qform, which cannot hold a shear, only where it says the same.

    Args:
      code: what the world is: "scanner", "aligned" or "mni".
    """
    header = nib.Nifti1Header()
    header.set_data_shape(space.shape)
    header.set_zooms(nib.affines.voxel_sizes(space.affine))
    header.set_sform(space.affine, code)
    header.set_qform(space.affine, code)
    if not np.allclose(header.get_qform(), space.affine, atol=TINY):
        header.set_qform(None, 0)
    header.set_xyzt_units("mm")
    return header
