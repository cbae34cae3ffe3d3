"""Would a brain fit better if it were turned by a right angle or two, as a wrong header turns it?"""

import numpy as np
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from cdm_jax.prepare.climb import Fixed, Level, climb, metrics

LOOK = Level(4, 3, 0.2)
SUSPECT = 0.6  # of the metric: turned, a well-placed brain has 0.3 of it, a wrongly turned one at least 0.8
TRIED = 8  # turns that are climbed from
CLEARLY, MARGIN = 1.2, 0.1  # times and more; climbed from, the true orientation is about twice as good


def turned_fits_better(
    fixed: Fixed, array: np.ndarray, affine: np.ndarray, found: sitk.AffineTransform
) -> bool:
    """Whether one of the 23 other right-angled orientations about the brain's centre is clearly the better one.

    Args:
      array, affine: the moving scan; found: the transform from the fixed one to it.
    """
    own = metrics(fixed, array, affine, [found], LOOK)[0]
    starts = [_turned(found, turn) for turn in _turns()]
    looks = metrics(fixed, array, affine, starts, LOOK)
    if min(looks) > SUSPECT * own:
        return False
    limit = CLEARLY * own - MARGIN
    return any(_climbed(fixed, array, affine, starts[i]) < limit for i in np.argsort(looks)[:TRIED])


def _turns() -> list[np.ndarray]:
    """The rotations [3,3] of a cube onto itself, without the one that leaves it."""
    turns = Rotation.create_group("O")
    return list(turns[turns.magnitude() > 0.1].as_matrix())


def _turned(found: sitk.AffineTransform, turn: np.ndarray) -> sitk.AffineTransform:
    """The turn about the brain's centre, which is the transform's, before the transform."""
    start = sitk.AffineTransform(found)
    start.SetMatrix((np.array(found.GetMatrix()).reshape(3, 3) @ turn).ravel().tolist())
    return start


def _climbed(fixed: Fixed, array: np.ndarray, affine: np.ndarray, start: sitk.AffineTransform) -> float:
    try:
        return climb(fixed, array, affine, start, [LOOK])
    except RuntimeError:  # led astray
        return np.inf
