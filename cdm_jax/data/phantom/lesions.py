"""Where are a patient's lesions, what shape do they have, what do they push aside?"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cdm_jax.data.phantom.anatomy import Anatomy
from cdm_jax.data.phantom.fields import smooth_field
from cdm_jax.data.phantom.geometry import Grid

RADIUS_MM = (3.5, 20.0)  # a few voxels at 2 mm, up to a tumour
REACH = 2.2  # a lesion lies within this many radii of its centre


@dataclass(frozen=True)
class Lesion:
    """One lesion before it is drawn: a stretched ball with a rough, blurred surface."""

    centre: np.ndarray  # [3] template voxel
    radius: float  # voxels
    axis: np.ndarray  # [3] unit vector along which the ball is stretched ...
    stretch: float  # ... by this factor
    roughness: float  # of the surface, in radii
    edge: float  # width of the partial-volume rim, voxels
    push: float  # mass effect: largest displacement, voxels


def draw_lesions(rng: np.random.Generator, anatomy: Anatomy) -> list[Lesion]:
    """One to four lesions that keep apart, more often in white matter, not in deep CSF."""
    step = float(np.linalg.norm(anatomy.affine[:3, 0]))
    lesions: list[Lesion] = []
    for _ in range(rng.integers(1, 5)):
        radius = rng.uniform(*RADIUS_MM) / step
        centre = _draw_centre(rng, anatomy, radius, lesions)
        if centre is None:
            break
        axis = rng.standard_normal(3)
        lesions.append(
            Lesion(
                centre=centre,
                radius=radius,
                axis=axis / np.linalg.norm(axis),
                stretch=rng.uniform(1.0, 1.7),
                roughness=rng.uniform(0.2, 0.5),
                edge=rng.uniform(1.0, 2.0 + 0.2 * radius),
                push=_draw_push(rng, radius * step) / step,
            )
        )
    return lesions


def locate(lesion: Lesion, grid: Grid) -> np.ndarray:
    """The subject's voxel [3] nearest to the lesion's centre in the template."""
    offset = grid.template - lesion.centre[:, None].astype(np.float32)
    return grid.voxels[np.argmin(np.einsum("in,in->n", offset, offset))]


def displace(lesion: Lesion, centre: np.ndarray, grid: Grid, depth: np.ndarray) -> np.ndarray:
    """Mass effect: where each brain voxel's tissue came from, as an offset [3,N] in template voxels.

    The push is radial, peaks at the lesion's surface, w(d) = d/r exp((1 - (d/r)^2) / 2), does not fold
    while push < 0.6 r, and vanishes at the skull.
    """
    outward = (grid.voxels - centre).astype(np.float32)  # [N,3], length d
    ratio = np.linalg.norm(outward, axis=1) / lesion.radius
    skull = np.clip((depth - 1) / 5, 0, 1)
    weight = lesion.push / lesion.radius * np.exp((1 - ratio**2) / 2) * skull
    return (grid.to_template @ -(outward * weight[:, None]).T).astype(np.float32)


def lesion_share(rng: np.random.Generator, lesion: Lesion, centre: np.ndarray, grid: Grid) -> np.ndarray:
    """Share of lesion [N] in [0, 1] in each brain voxel: one piece, its rim blurred over `edge` voxels."""
    half = int(np.ceil(REACH * lesion.radius))
    ball = _rough_ball(rng, lesion, half)
    offset = grid.voxels - centre
    near = np.flatnonzero((np.abs(offset) <= half).all(axis=1))
    share = np.zeros(len(grid.voxels), np.float32)
    share[near] = ball[tuple((offset[near] + half).T)]
    return share


def _rough_ball(rng, lesion, half) -> np.ndarray:
    """The lesion's share of a cube of 2 half + 1 voxels: its surface is where level = 0."""
    offset = np.indices((2 * half + 1,) * 3, dtype=np.float32) - half
    along = np.tensordot(lesion.axis, offset, axes=1)
    squared = (offset**2).sum(axis=0) + (lesion.stretch**-2 - 1) * along**2
    ratio = np.sqrt(squared) * lesion.stretch ** (1 / 3) / lesion.radius  # the stretch keeps the volume
    noise = smooth_field(rng, ratio.shape, max(1.5, 0.8 * lesion.radius))
    noise += 0.4 * smooth_field(rng, ratio.shape, max(1.2, 0.3 * lesion.radius))
    level = 1 - ratio + lesion.roughness * noise * ratio.clip(0, 1)
    pieces, _ = ndimage.label(level > 0)
    piece = ndimage.binary_dilation(pieces == pieces[half, half, half], iterations=2)
    return piece * np.clip(0.5 + level * lesion.radius / lesion.edge, 0, 1)


def _draw_centre(rng, anatomy, radius, others) -> np.ndarray | None:
    weight = (0.25 + anatomy.wm) * (anatomy.csf < 0.3) * (anatomy.depth > np.maximum(2, 0.4 * radius))
    places = np.argwhere(weight > 0)
    chance = weight[tuple(places.T)].astype(np.float64)
    for other in others:
        chance *= np.linalg.norm(places - other.centre, axis=1) > 1.3 * (radius + other.radius) + 1
    if not chance.any():
        return None
    return places[rng.choice(len(places), p=chance / chance.sum())]


def _draw_push(rng, radius_mm) -> float:
    """Half of the lesions above 8 mm displace their surroundings, by up to 6 mm."""
    wanted, share = rng.uniform() < 0.5, rng.uniform(0.15, 0.4)
    return min(share * radius_mm, 6.0) * (wanted and radius_mm > 8)
