"""Which brain do all others move to?"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cdm_jax.data import volume as volumes
from cdm_jax.prepare.strip import foreground


@dataclass(frozen=True, eq=False)
class Template:
    """A brain [H,W,D] float32, its mask, its voxel-to-world affine (mm, RAS); code: what a NIfTI header calls
    its space."""

    array: np.ndarray
    mask: np.ndarray
    affine: np.ndarray
    code: str

    def sha256(self) -> str:
        """Hash of what a registration depends on."""
        return hashlib.sha256(self.array.tobytes() + self.affine.tobytes()).hexdigest()


def load_template(path: str | Path | None = None, max_gb: float = 2.0) -> Template:
    """The brain in the file `path`, without one the MNI152 2009 brain that ships inside nilearn, at 1 mm.

    Raises:
      UsageError: there is no such file.
      VolumeError: it cannot be used, or still has its skull.
    Source: Fonov et al., "Unbiased average age-appropriate atlases for pediatric studies", NeuroImage 2011.
    """
    if path is not None:
        volume = volumes.read(path, max_gb)
        return Template(volume.array, foreground(volume), volume.affine, "aligned")
    from nilearn.datasets import load_mni152_template  # seconds to import, wanted only here

    image = load_mni152_template(resolution=1)
    array = np.asarray(image.dataobj, np.float32)
    return Template(array, array > 0, np.asarray(image.affine, np.float64), "mni")
