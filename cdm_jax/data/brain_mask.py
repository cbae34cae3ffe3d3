"""Where the brain is when no mask comes with the scan."""

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from cdm_jax.data.volume import Volume
from cdm_jax.errors import VolumeError

STRIPPED_SHARE = 0.2  # a brain fills about half of its own bounding box


def estimate_mask(volume: Volume) -> np.ndarray:
    """Brain mask of a skull-stripped scan, bool [H,W,D]; of any other scan only a mask of the whole head.

    A scan counts as stripped when at least a fifth of its voxels equal, exactly, the commonest value on its
    faces; its mask is what differs from that value by more than a hundredth of the range. The mask of any
    other scan is what exceeds Otsu's threshold, closed. Both keep the largest component and fill its holes.
    Strip the skull first (e.g. with HD-BET): skull and scalp inside the mask spoil the intensity range and
    every score.

    Raises:
      VolumeError: no foreground is left.
    """
    background = _face_value(volume.array)
    if np.mean(volume.array == background) >= STRIPPED_SHARE:
        contrast = np.abs(volume.array - background)
        # Not "> 0": interpolation leaves traces of 1e-17 far outside the brain.
        mask = _largest_component(contrast > 0.01 * np.percentile(contrast, 99))
    else:
        mask = _close(_largest_component(volume.array > _otsu(volume.array)), iterations=2)
    mask = ndimage.binary_fill_holes(mask)
    if not mask.any():
        raise VolumeError(volume.path, "empty-mask", "no foreground found; give a brain mask")
    return mask


def _face_value(array: np.ndarray) -> float:
    """The commonest value on the six faces of the volume."""
    faces = [np.take(array, side, axis).ravel() for axis in range(3) for side in (0, -1)]
    values, counts = np.unique(np.concatenate(faces), return_counts=True)
    return float(values[counts.argmax()])


def _otsu(array: np.ndarray) -> float:
    """Otsu's threshold (1979); clipped first, so that a few bright voxels do not stretch the histogram."""
    clipped = np.minimum(array, np.percentile(array, 99.5))
    threshold = sitk.OtsuThresholdImageFilter()
    threshold.Execute(sitk.GetImageFromArray(clipped))
    return threshold.GetThreshold()


def _largest_component(mask: np.ndarray) -> np.ndarray:
    labels, count = ndimage.label(mask)
    return labels == 1 + np.bincount(labels.ravel())[1:].argmax() if count else mask


def _close(mask: np.ndarray, iterations: int) -> np.ndarray:
    """Binary closing that treats what lies beyond the volume as empty, without eating at its faces."""
    padded = np.pad(mask, iterations)
    return ndimage.binary_closing(padded, iterations=iterations)[(slice(iterations, -iterations),) * 3]
