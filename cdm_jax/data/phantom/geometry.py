"""Where in the template does each voxel of a subject lie?"""

from dataclasses import dataclass

import nibabel as nib
import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from cdm_jax.data.phantom.anatomy import Anatomy
from cdm_jax.data.phantom.fields import smooth_field

BRAIN_MM = (150.0, 184.0, 160.0)  # the template's brain box, rounded up
ORIENTATIONS = ("RAS", "LPS", "RAS", "PIR", "RAS", "LAS", "RAS", "ASR")  # how subject `index` is stored


@dataclass(frozen=True)
class Grid:
    """A subject's brain voxels: their places in its own grid and in the template's."""

    mask: np.ndarray  # [H,W,D] bool
    voxels: np.ndarray  # [N,3] int, argwhere(mask)
    template: np.ndarray  # [3,N] float32, template voxel of each
    to_template: np.ndarray  # [3,3] linear part of that map
    affine: np.ndarray  # [4,4] voxel to millimetre


def draw_grid(rng: np.random.Generator, anatomy: Anatomy, age: float) -> Grid:
    """A random head (size, pose, shape; ventricles that grow with age) in a random scanner grid."""
    step = float(np.linalg.norm(anatomy.affine[:3, 0]))
    shape = tuple(int(np.ceil(1.25 * size / step)) for size in BRAIN_MM)
    inside = np.argwhere(anatomy.brain > 0)
    centre = nib.affines.apply_affine(anatomy.affine, (inside.min(0) + inside.max(0)) / 2)
    pose, head_centre = _draw_pose(rng, centre)
    affine = _draw_scanner_affine(rng, step, shape, head_centre)
    voxel_to_template = np.linalg.inv(anatomy.affine) @ np.linalg.inv(pose) @ affine
    template = _affine_grid(voxel_to_template, shape)
    for spacing_mm, std_mm in ((50, 2.5), (20, 0.8)):
        for component in template:
            component += (std_mm / step) * smooth_field(rng, shape, spacing_mm / step)
    growth = (age - 50) / 30 * 1.2 + 0.8 * rng.standard_normal()
    mask = sample(anatomy.brain, template) > 0.5
    box, affine = _crop(rng, mask, affine)
    mask, template = mask[box], template[(slice(None), *box)][:, mask[box]]
    template += np.clip(growth, -1.2, 2.5) / step * _sample_vectors(anatomy.ventricle_pull, template)
    return Grid(mask, np.argwhere(mask), template, voxel_to_template[:3, :3], affine)


def sample(volume: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Trilinear interpolation of `volume` at `points` [3,...], zero outside."""
    return ndimage.map_coordinates(volume, points, order=1, output=np.float32)


def store(volume: np.ndarray, affine: np.ndarray, codes: str) -> tuple[np.ndarray, np.ndarray]:
    """The same volume with its axes flipped and permuted to `codes` (e.g. "LPS"), and its affine."""
    now, wanted = nib.io_orientation(affine), nib.orientations.axcodes2ornt(codes)
    change = nib.orientations.ornt_transform(now, wanted)
    stored = np.ascontiguousarray(nib.apply_orientation(volume, change))
    return stored, affine @ nib.orientations.inv_ornt_aff(change, volume.shape)


def _draw_pose(rng, centre) -> tuple[np.ndarray, np.ndarray]:
    """Affine from template to subject millimetres (5 degrees, 8 % in size, shear, 5 mm); the new centre."""
    rotation = Rotation.from_euler("xyz", rng.uniform(-5, 5, 3), degrees=True).as_matrix()
    scale = 1 + rng.uniform(-0.06, 0.06) + rng.uniform(-0.02, 0.02, 3)
    shear = np.eye(3) + np.triu(rng.uniform(-0.03, 0.03, (3, 3)), k=1)
    linear = rotation @ shear @ np.diag(scale)
    head_centre = centre + rng.uniform(-5, 5, 3)
    return nib.affines.from_matvec(linear, head_centre - linear @ centre), head_centre


def _draw_scanner_affine(rng, step, shape, head_centre) -> np.ndarray:
    """Voxel-to-millimetre affine, the head in the middle; one scan in three is oblique, up to 12 degrees."""
    oblique, angles = rng.uniform() < 1 / 3, rng.uniform(-12, 12, 3)
    rotation = Rotation.from_euler("xyz", angles * oblique, degrees=True).as_matrix()
    linear = step * rotation
    return nib.affines.from_matvec(linear, head_centre - linear @ ((np.array(shape) - 1) / 2))


def _affine_grid(matrix, shape) -> np.ndarray:
    """`matrix` applied to every voxel of `shape`: [3,*shape] float32."""
    i, j, k = np.ogrid[tuple(slice(n) for n in shape)]
    rows = (m[0] * i + m[1] * j + m[2] * k + m[3] for m in matrix[:3])
    return np.stack([row.astype(np.float32) for row in rows])


def _crop(rng, mask, affine) -> tuple[tuple[slice, ...], np.ndarray]:
    """The brain's box with 2 to 6 voxels of air on each side, and the affine with its origin moved."""
    low, high = (f(0) for f in (np.argwhere(mask).min, np.argwhere(mask).max))
    low = np.maximum(low - rng.integers(2, 7, 3), 0)
    high = np.minimum(high + 1 + rng.integers(2, 7, 3), mask.shape)
    moved = affine.copy()
    moved[:3, 3] = nib.affines.apply_affine(affine, low)
    return tuple(slice(a, b) for a, b in zip(low, high, strict=True)), moved


def _sample_vectors(vectors, points) -> np.ndarray:
    return np.stack([sample(component, points) for component in vectors])
