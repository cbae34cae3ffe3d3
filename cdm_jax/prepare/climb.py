"""How is one brain moved onto another, from a given start?

Mattes' mutual information (IEEE TMI 2003), climbed by conjugate gradients, first on a coarse grid, then on a
finer one. Of its voxels a tenth to a half is sampled, always the same ones.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from cdm_jax.prepare.crop import brain_box, cut
from cdm_jax.prepare.resample import resample
from cdm_jax.prepare.space import Space, at_spacing
from cdm_jax.prepare.transforms import Linear, chain, from_itk, invert, point_to_itk, to_itk

BINS, SEED, ITERATIONS = 32, 1, 30
RIM_MM = 6.0  # of the background around the brain that the metric sees as well


@dataclass(frozen=True)
class Level:
    """Spacing of the grid and standard deviation of the smoothing, in mm; share of its voxels that is sampled."""

    spacing: float
    smooth: float
    sampled: float


@dataclass(frozen=True, eq=False)
class Fixed:
    """What stays in place: array [H,W,D] around the brain, seen where `rim` is true; centre: of the brain (RAS)."""

    array: np.ndarray
    rim: np.ndarray
    space: Space
    centre: np.ndarray


def fix(array: np.ndarray, mask: np.ndarray, space: Space) -> Fixed:
    """What is in `mask` and a rim around it."""
    width = np.ceil(RIM_MM / nib.affines.voxel_sizes(space.affine)).astype(int)
    rim = ndimage.maximum_filter(mask, size=tuple(2 * width + 1), mode="constant")
    box = brain_box(rim)
    return Fixed(array[box], rim[box], cut(space, box), centre(mask, space.affine))


def rigid(fixed: Fixed, shift: np.ndarray) -> sitk.Euler3DTransform:
    """A shift (mm, RAS) of the fixed image onto the moving one, which may turn about the brain's centre."""
    transform = sitk.Euler3DTransform()
    transform.SetCenter(point_to_itk(fixed.centre))
    transform.SetTranslation(point_to_itk(shift))
    return transform


def climb(
    fixed: Fixed, array: np.ndarray, affine: np.ndarray, transform: sitk.Transform, levels: Sequence[Level]
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


def metrics(
    fixed: Fixed, array: np.ndarray, affine: np.ndarray, starts: Iterable[sitk.Transform], level: Level
) -> list[float]:
    """The metric of each transform, the lower the closer; infinite where the two lie apart."""
    method = _method(level.sampled)
    still, moving = _coarse(fixed, level, method), _smooth(array, affine, level)
    moving = sitk.Shrink(moving, [max(1, round(level.spacing / step)) for step in moving.GetSpacing()])
    found = []
    for start in starts:
        method.SetInitialTransform(start)
        try:
            found.append(method.MetricEvaluate(still, moving))
        except RuntimeError:
            found.append(np.inf)
    return found


def matrix(fixed: Fixed, affine: np.ndarray, transform: Linear) -> np.ndarray:
    """From the moving scan's world to the fixed one's, whether or not ITK could hold their affines."""
    (_, moving_placed), (_, fixed_placed) = (
        to_itk(np.zeros((1, 1, 1)), a) for a in (affine, fixed.space.affine)
    )
    return chain([invert(moving_placed), invert(from_itk(transform)), fixed_placed])


def centre(weights: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """The centre of mass [3] (mm, RAS)."""
    return nib.affines.apply_affine(affine, ndimage.center_of_mass(weights))


def _method(sampled: float) -> sitk.ImageRegistrationMethod:
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(sampled, SEED)
    method.SetInterpolator(sitk.sitkLinear)
    return method


def _coarse(fixed: Fixed, level: Level, method: sitk.ImageRegistrationMethod) -> sitk.Image:
    """The fixed image on the level's grid; the metric is told to look within its rim."""
    space, still = at_spacing(fixed.space, level.spacing), np.eye(4)
    smooth = sitk.GetArrayFromImage(_smooth(fixed.array, fixed.space.affine, level)).T
    rim = resample(fixed.rim, fixed.space.affine, space, still, order=0)
    method.SetMetricFixedMask(to_itk(rim.astype(np.uint8), space.affine)[0])
    return to_itk(resample(smooth, fixed.space.affine, space, still, order=1), space.affine)[0]


def _smooth(array: np.ndarray, affine: np.ndarray, level: Level) -> sitk.Image:
    return sitk.SmoothingRecursiveGaussian(to_itk(array, affine)[0], level.smooth)
