"""Which matrix takes a scan onto the template, or onto another scan of the same head?

Mattes' mutual information (IEEE TMI 2003), climbed by conjugate gradients, first on a coarse grid, then on a
finer one. Of its voxels a tenth to a fifth is sampled, always the same ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from cdm_jax.data.volume import Volume
from cdm_jax.errors import VolumeError
from cdm_jax.prepare.crop import brain_box, cut
from cdm_jax.prepare.resample import resample
from cdm_jax.prepare.space import Space, at_spacing, space_of
from cdm_jax.prepare.template import Template
from cdm_jax.prepare.transforms import Linear, chain, from_itk, invert, point_to_itk, to_itk


@dataclass(frozen=True)
class Level:
    """Spacing of the grid and standard deviation of the smoothing, in mm; share of its voxels that is sampled."""

    spacing: float
    smooth: float
    sampled: float


RIGID = (Level(4, 3, 0.2),)
AFFINE = (Level(4, 2, 0.1), Level(2, 1, 0.1))
ALIGN = (Level(4, 2, 0.2), Level(2, 1, 0.2))
BINS, SEED, ITERATIONS = 32, 1, 30
RIM_MM = 6.0  # of the background around the brain that the metric sees as well
LEAST_OVERLAP = 0.7  # Dice of the brains; a good affine fit reaches 0.93 to 0.97
SIZES = (0.4, 2.5)  # of the moved brain's volume over the brain's


@dataclass(frozen=True, eq=False)
class Registration:
    """matrix: [4,4], mm, RAS, from the scan to what it was registered to.

    facts: metric, the lower the closer; of a template, dice of its brain and the moved one.
    """

    matrix: np.ndarray
    facts: dict[str, float]


@dataclass(frozen=True, eq=False)
class _Fixed:
    """What stays in place: array [H,W,D] around the brain, seen where `rim` is true; centre: of the brain (RAS)."""

    array: np.ndarray
    rim: np.ndarray
    space: Space
    centre: np.ndarray


def to_template(scan: Volume, mask: np.ndarray, template: Template, stripped: bool) -> Registration:
    """Rigid from the brains' centres on, then affine with 12 degrees of freedom.

    Args:
      mask: the brain, bool [H,W,D]; stripped: leave out what lies outside of it.
    Raises:
      VolumeError: code "unregistered": the result cannot be true.
    """
    fixed = _fix(template.array, template.mask, Space(template.array.shape, template.affine))
    seen = np.where(mask, scan.array, np.float32(0)) if stripped else scan.array
    rigid = _rigid(fixed, _centre(mask, scan.affine) - fixed.centre)
    affine = sitk.AffineTransform(3)
    affine.SetCenter(rigid.GetCenter())
    try:
        _climb(fixed, seen, scan.affine, rigid, RIGID)
        affine.SetMatrix(rigid.GetMatrix())
        affine.SetTranslation(rigid.GetTranslation())
        metric = _climb(fixed, seen, scan.affine, affine, AFFINE)
    except RuntimeError as error:
        raise VolumeError(scan.path, "unregistered", "registration to the template failed") from error
    matrix = _matrix(fixed, scan.affine, affine)
    dice = _overlap(mask, scan.affine, template, matrix)
    _check(scan, matrix, dice)
    return Registration(matrix, {"metric": round(metric, 4), "dice": round(dice, 4)})


def to_scan(scan: Volume, reference: Volume, mask: np.ndarray) -> Registration:
    """Rigid, from where the headers put the two scans, or, if that looks better, from their centres.

    Args:
      reference: another scan of the same head; mask: its brain, bool [H,W,D].
    Raises:
      VolumeError: code "unregistered".
    """
    fixed = _fix(reference.array, mask, space_of(reference))
    centres = [_centre(np.abs(volume.array), volume.affine) for volume in (reference, scan)]
    starts = [_rigid(fixed, np.zeros(3)), _rigid(fixed, centres[1] - centres[0])]
    try:
        rigid = min(starts, key=lambda start: _metric(fixed, scan, start))
        metric = _climb(fixed, scan.array, scan.affine, rigid, ALIGN)
    except RuntimeError as error:
        reason = f"alignment with {reference.path.name} failed"
        raise VolumeError(scan.path, "unregistered", reason) from error
    return Registration(_matrix(fixed, scan.affine, rigid), {"metric": round(metric, 4)})


def _fix(array: np.ndarray, mask: np.ndarray, space: Space) -> _Fixed:
    width = np.ceil(RIM_MM / nib.affines.voxel_sizes(space.affine)).astype(int)
    rim = ndimage.maximum_filter(mask, size=tuple(2 * width + 1), mode="constant")
    box = brain_box(rim)
    return _Fixed(array[box], rim[box], cut(space, box), _centre(mask, space.affine))


def _rigid(fixed: _Fixed, shift: np.ndarray) -> sitk.Euler3DTransform:
    transform = sitk.Euler3DTransform()
    transform.SetCenter(point_to_itk(fixed.centre))
    transform.SetTranslation(point_to_itk(shift))
    return transform


def _climb(
    fixed: _Fixed, array: np.ndarray, affine: np.ndarray, transform: sitk.Transform, levels: Sequence[Level]
) -> float:
    """Improve `transform`, from the fixed to the moving array, in place; returns the last metric."""
    for level in levels:
        method = _method(level.sampled)
        method.SetOptimizerAsConjugateGradientLineSearch(
            learningRate=1.0, numberOfIterations=ITERATIONS, convergenceMinimumValue=1e-5, convergenceWindowSize=8,
            lineSearchLowerLimit=0, lineSearchUpperLimit=4, lineSearchEpsilon=0.05, lineSearchMaximumIterations=10,
        )  # fmt: skip
        method.SetOptimizerScalesFromPhysicalShift()
        method.SetInitialTransform(transform, inPlace=True)
        image = _coarse(fixed, level, method)
        method.Execute(image, _smooth(array, affine, level))
    return float(method.GetMetricValue())


def _metric(fixed: _Fixed, scan: Volume, transform: sitk.Transform) -> float:
    method = _method(ALIGN[0].sampled)
    method.SetInitialTransform(transform)
    try:
        image = _coarse(fixed, ALIGN[0], method)
        return method.MetricEvaluate(image, _smooth(scan.array, scan.affine, ALIGN[0]))
    except RuntimeError:  # the scans lie apart
        return np.inf


def _method(sampled: float) -> sitk.ImageRegistrationMethod:
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(sampled, SEED)
    method.SetInterpolator(sitk.sitkLinear)
    return method


def _coarse(fixed: _Fixed, level: Level, method: sitk.ImageRegistrationMethod) -> sitk.Image:
    """The fixed image on the level's grid; the metric is told to look within its rim."""
    space, still = at_spacing(fixed.space, level.spacing), np.eye(4)
    smooth = sitk.GetArrayFromImage(_smooth(fixed.array, fixed.space.affine, level)).T
    rim = resample(fixed.rim, fixed.space.affine, space, still, order=0)
    method.SetMetricFixedMask(to_itk(rim.astype(np.uint8), space.affine)[0])
    return to_itk(resample(smooth, fixed.space.affine, space, still, order=1), space.affine)[0]


def _smooth(array: np.ndarray, affine: np.ndarray, level: Level) -> sitk.Image:
    return sitk.SmoothingRecursiveGaussian(to_itk(array, affine)[0], level.smooth)


def _matrix(fixed: _Fixed, affine: np.ndarray, transform: Linear) -> np.ndarray:
    """From the moving scan's world to the fixed one's, whether or not ITK could hold their affines."""
    (_, moving_placed), (_, fixed_placed) = (
        to_itk(np.zeros((1, 1, 1)), a) for a in (affine, fixed.space.affine)
    )
    return chain([invert(moving_placed), invert(from_itk(transform)), fixed_placed])


def _centre(weights: np.ndarray, affine: np.ndarray) -> np.ndarray:
    return nib.affines.apply_affine(affine, ndimage.center_of_mass(weights))


def _overlap(mask: np.ndarray, affine: np.ndarray, template: Template, matrix: np.ndarray) -> float:
    """Dice of a brain mask, moved by `matrix`, and the template's."""
    moved = resample(mask, affine, Space(template.mask.shape, template.affine), matrix, order=0)
    return 2 * float((moved & template.mask).sum()) / float(moved.sum() + template.mask.sum())


def _check(scan: Volume, matrix: np.ndarray, dice: float) -> None:
    size = abs(float(np.linalg.det(matrix[:3, :3])))
    if dice < LEAST_OVERLAP or not SIZES[0] < size < SIZES[1]:
        reason = (
            f"registration diverged: moved {size:.2f}-fold in size, the brain covers the template with a Dice "
            f"of {dice:.2f}; check its mask and orientation"
        )
        raise VolumeError(scan.path, "unregistered", reason)
