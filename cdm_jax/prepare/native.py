"""How does a result on the prepared grid go back to the raw scan?"""

from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from cdm_jax.data.volume import Volume
from cdm_jax.errors import UsageError, VolumeError
from cdm_jax.prepare.resample import resample
from cdm_jax.prepare.sidecar import raw_header, read_sidecar
from cdm_jax.prepare.space import Space, space_of
from cdm_jax.prepare.transforms import invert


@dataclass(frozen=True, eq=False)
class Native:
    """The raw scan that a prepared image was made from.

    like: its grid, for `data.volume.write`; its voxels are all zero and take no memory, its path is the raw
    file's, below the folder that was prepared. raw_to_prepared: [4,4], mm, RAS. prepared: the prepared grid.
    """

    like: Volume
    raw_to_prepared: np.ndarray
    prepared: Space


def read_native(image: str | Path) -> Native:
    """What 'cdm prepare' kept beside the prepared `image`; the raw file is not needed.

    Raises:
      UsageError: nothing was kept there.
    """
    facts = read_sidecar(Path(image))
    try:
        raw, prepared = facts["raw"], facts["prepared"]
        affine = np.array(raw["affine"], np.float64)
        x, y, z = nib.affines.voxel_sizes(affine).tolist()
        voxels = np.broadcast_to(np.float32(0), raw["shape"])
        like = Volume(voxels, affine, (x, y, z), raw_header(facts), Path(raw["file"]))
        space = Space(tuple(prepared["shape"]), np.array(prepared["affine"], np.float64))
        return Native(like, np.array(facts["raw_to_prepared"], np.float64), space)
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{image}: its JSON is not what 'cdm prepare' wrote; prepare it again") from error


def to_native(array: np.ndarray, prepared: Volume, native: Native, order: int = 1) -> np.ndarray:
    """Bring `array` [H,W,D] on the grid of `prepared` back to the raw scan's grid; zero beyond.

    Args:
      prepared: the prepared image as read; order: 0 nearest, which keeps the type, 1 linear or 3 B-spline,
        float32.
    Raises:
      ValueError: `array` has another shape than `prepared`.
      VolumeError: `prepared` is not on the grid that was prepared.
    """
    if array.shape != prepared.array.shape:
        raise ValueError(f"array {array.shape} does not fit {prepared.path} {prepared.array.shape}")
    if array.shape != native.prepared.shape:
        raise VolumeError(prepared.path, "shape-mismatch", "has another shape than its JSON says")
    if not np.allclose(prepared.affine, native.prepared.affine, atol=1e-3):
        raise VolumeError(prepared.path, "affine-mismatch", "lies elsewhere than its JSON says")
    return resample(array, prepared.affine, space_of(native.like), invert(native.raw_to_prepared), order)
