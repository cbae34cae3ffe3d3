"""How a result goes back into the grid of the file it was made from."""

import os
from pathlib import Path

import nibabel as nib
import numpy as np

from cdm_jax.data.names import stem
from cdm_jax.errors import UsageError
from cdm_jax.files import atomic_path


def write_grid(path: str | os.PathLike, array: np.ndarray, header: nib.Nifti1Header) -> None:
    """Write `array` (bool or uint8 as uint8, else float32) atomically in exactly the grid of `header`.

    Dimensions, sform, qform, their codes, pixdim and units stay, bit for bit; intensity fields, intent and
    extensions, which describe the voxels of the file the header came from, are reset.

    Raises:
      UsageError: `path` does not end in `.nii` or `.nii.gz`, or cannot be written.
    """
    path = Path(path)
    if stem(path) == path.name:
        raise UsageError(f"{path}: the output's name must end in .nii or .nii.gz")
    header = _without_intensities(header, np.uint8 if array.dtype in (bool, np.uint8) else np.float32)
    voxels = array.astype(header.get_data_dtype()).reshape(header.get_data_shape())
    image_class = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
    # No affine is handed over: given one, nibabel may rewrite sform, qform and their codes.
    image = image_class(voxels, None, header)
    with atomic_path(path) as temporary:
        image.to_filename(temporary)


def _without_intensities(header: nib.Nifti1Header, dtype: type) -> nib.Nifti1Header:
    header = header.copy()
    header.extensions.clear()
    header.set_data_dtype(dtype)
    header.set_slope_inter(1, 0)
    header.set_intent("none", allow_unknown=True)
    header["vox_offset"] = 0
    header["cal_min"] = header["cal_max"] = 0
    header["descrip"] = b"cdm_jax"
    header["aux_file"] = b""
    return header
