"""How bright would the tissue be under an even coil?"""

import numpy as np
import SimpleITK as sitk

SHRINK = 6  # the field is smooth: it is fitted to every sixth voxel a side
ITERATIONS = (50, 50, 50)  # at most; level by level the spline has 1, 2, 4 pieces a side
SMALLEST = 8  # voxels a side that a small scan is left with


def correct(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The image [H,W,D] without its bias field, N4 fitted inside `mask`, its mean there kept, float32.

    Voxels that are not positive take no part, as the field multiplies.

    Source: Tustison et al., "N4ITK: improved N3 bias correction", IEEE TMI 2010.
    """
    part = mask & (image > 0)
    if not part.any():
        return image.astype(np.float32)
    full = sitk.GetImageFromArray(image.astype(np.float32))
    factor = [max(1, min(SHRINK, min(image.shape) // SMALLEST))] * 3
    fit = sitk.N4BiasFieldCorrectionImageFilter()
    fit.SetMaximumNumberOfIterations(ITERATIONS)
    fit.Execute(sitk.Shrink(full, factor), sitk.Shrink(sitk.GetImageFromArray(part.astype(np.uint8)), factor))
    field = np.exp(sitk.GetArrayFromImage(fit.GetLogBiasFieldAsImage(full)))
    corrected = image / field
    return (corrected * (image[part].mean() / corrected[part].mean())).astype(np.float32)
