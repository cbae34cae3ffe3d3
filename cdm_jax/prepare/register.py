"""Which matrix takes a scan onto the template, or onto another scan of the same head?"""

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from cdm_jax.data.volume import Volume
from cdm_jax.errors import VolumeError
from cdm_jax.prepare.climb import Fixed, Level, centre, climb, fix, matrix, metrics, rigid
from cdm_jax.prepare.resample import resample
from cdm_jax.prepare.space import Space, space_of
from cdm_jax.prepare.template import Template
from cdm_jax.prepare.turns import turned_fits_better

RIGID = (Level(4, 3, 0.2),)
AGAIN = (Level(8, 6, 0.5), *RIGID)  # sees further, where the first start led astray
AFFINE = (Level(4, 2, 0.1), Level(2, 1, 0.1))
ALIGN = (Level(4, 2, 0.2), Level(2, 1, 0.2))
LEAST_OVERLAP = 0.88  # Dice of the brains; a good affine fit reaches 0.93 to 0.97, a turned brain up to 0.87
SIZES = (0.4, 2.5)  # of the moved brain's volume over the brain's


@dataclass(frozen=True, eq=False)
class Registration:
    """matrix: [4,4], mm, RAS, from the scan to what it was registered to.

    facts: metric, the lower the closer; of a template, dice of its brain and the moved one.
    """

    matrix: np.ndarray
    facts: dict[str, float]


def to_template(scan: Volume, mask: np.ndarray, template: Template, stripped: bool) -> Registration:
    """Rigid from the brains' centres on, then affine with 12 degrees of freedom; once more if that goes astray.

    Args:
      mask: the brain, bool [H,W,D]; stripped: leave out what lies outside of it.
    Raises:
      VolumeError: code "unregistered": the result cannot be true.
    """
    fixed = fix(template.array, template.mask, Space(template.array.shape, template.affine))
    seen = np.where(mask, scan.array, np.float32(0)) if stripped else scan.array
    shift = centre(mask, scan.affine) - fixed.centre
    reason = ""
    for levels in (RIGID, AGAIN):
        try:
            moved, metric = _affine(fixed, seen, scan.affine, shift, levels)
        except RuntimeError as error:
            reason = f"registration to the template failed: {_last_line(error)}"
            continue
        found = matrix(fixed, scan.affine, moved)
        dice = _overlap(mask, scan.affine, template, found)
        reason = _fault(found, dice)
        if (not reason or levels is AGAIN) and turned_fits_better(fixed, seen, scan.affine, moved):
            reason = "registration fits better with the scan turned: its header's orientation looks wrong"
            break
        if not reason:
            return Registration(found, {"metric": round(metric, 4), "dice": round(dice, 4)})
    raise VolumeError(scan.path, "unregistered", reason)


def to_scan(scan: Volume, reference: Volume, mask: np.ndarray) -> Registration:
    """Rigid, from where the headers put the two scans, or, if that looks better, from their centres.

    Args:
      reference: another scan of the same head; mask: its brain, bool [H,W,D].
    Raises:
      VolumeError: code "unregistered".
    """
    fixed = fix(reference.array, mask, space_of(reference))
    centres = [centre(np.abs(volume.array), volume.affine) for volume in (reference, scan)]
    starts = [rigid(fixed, np.zeros(3)), rigid(fixed, centres[1] - centres[0])]
    try:
        start = starts[int(np.argmin(metrics(fixed, scan.array, scan.affine, starts, ALIGN[0])))]
        metric = climb(fixed, scan.array, scan.affine, start, ALIGN)
    except RuntimeError as error:
        reason = f"alignment with {reference.path.name} failed: {_last_line(error)}"
        raise VolumeError(scan.path, "unregistered", reason) from error
    return Registration(matrix(fixed, scan.affine, start), {"metric": round(metric, 4)})


def _affine(
    fixed: Fixed, array: np.ndarray, affine: np.ndarray, shift: np.ndarray, levels: tuple[Level, ...]
) -> tuple[sitk.AffineTransform, float]:
    """The transform from the fixed to the moving array, and its metric."""
    first = rigid(fixed, shift)
    climb(fixed, array, affine, first, levels)
    moved = sitk.AffineTransform(3)
    moved.SetCenter(first.GetCenter())
    moved.SetMatrix(first.GetMatrix())
    moved.SetTranslation(first.GetTranslation())
    return moved, climb(fixed, array, affine, moved, AFFINE)


def _overlap(mask: np.ndarray, affine: np.ndarray, template: Template, found: np.ndarray) -> float:
    """Dice of a brain mask, moved by the matrix that was found, and the template's."""
    moved = resample(mask, affine, Space(template.mask.shape, template.affine), found, order=0)
    return 2 * float((moved & template.mask).sum()) / float(moved.sum() + template.mask.sum())


def _fault(found: np.ndarray, dice: float) -> str:
    """Why a registration cannot be true, "" if it may be."""
    size = abs(float(np.linalg.det(found[:3, :3])))
    if dice >= LEAST_OVERLAP and SIZES[0] < size < SIZES[1]:
        return ""
    return (
        f"registration diverged: moved {size:.2f}-fold in size, the brain covers the template with a Dice of "
        f"{dice:.2f}; check its mask and orientation"
    )


def _last_line(error: RuntimeError) -> str:
    return (str(error).strip().splitlines() or ["for no reason given"])[-1].strip()
