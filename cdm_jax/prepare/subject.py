"""How does one subject come out of its raw files?"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cdm_jax.data.datasets.subject import Raw
from cdm_jax.data.volume import Volume
from cdm_jax.errors import VolumeError
from cdm_jax.prepare import bias
from cdm_jax.prepare.place import carry, find_space, find_steps, matrix_of
from cdm_jax.prepare.resample import resample
from cdm_jax.prepare.scans import FOREGROUND, read_scans
from cdm_jax.prepare.settings import INTERPOLATIONS, Settings
from cdm_jax.prepare.space import Space
from cdm_jax.prepare.strip import millilitres
from cdm_jax.prepare.template import Template

DOUBTS = {FOREGROUND: ": is the scan skull-stripped?"}
"""What is to be asked of a mask, by where it comes from."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """One scan on the prepared grid, float32 [H,W,D], and the way that led there.

    steps: facts of each step, with its matrix [4,4] (mm, RAS); matrix: all of them, one after the other.
    """

    scan: Volume
    image: np.ndarray
    steps: list[dict]
    matrix: np.ndarray


@dataclass(frozen=True, eq=False)
class PreparedSubject:
    """All scans of a subject on one grid; mask, seg: bool [H,W,D]; code: of `new_header`; notes: in words."""

    scans: dict[str, Prepared]
    mask: np.ndarray
    seg: np.ndarray | None
    space: Space
    code: str
    notes: str


def prepare(
    raw: Raw, settings: Settings, template: Template | None, scratch: Path, max_gb: float = 2.0
) -> PreparedSubject:
    """Strip, register, resample, crop and N4, as far as `settings` ask for them.

    The subject's reference scan goes to the template, the others go to it, and every file is interpolated
    once, through both.

    Args:
      template: where the step "register" leads, None without it; scratch: folder for temporary files.
    Raises:
      UsageError: a file is missing.
      VolumeError: a file or a result cannot be used.
    """
    scans = read_scans(raw, settings, scratch, max_gb)
    steps = find_steps(scans, settings, template)
    matrices = {modality: matrix_of(taken) for modality, taken in steps.items()}
    space, mask = find_space(scans, matrices, settings, template)
    done = {}
    for modality, scan in scans.volumes.items():
        image = _image(scan, matrices[modality], space, mask, settings)
        done[modality] = Prepared(scan, image, steps[modality], matrices[modality])
    seg = None if scans.seg is None else carry(scans.seg, scans, matrices, space)
    notes = [f"brain {millilitres(mask, space.affine):.0f} ml", scans.source + DOUBTS.get(scans.source, "")]
    notes += [f"Dice with the template {step['dice']:.2f}" for step in steps[scans.name] if "dice" in step]
    return PreparedSubject(done, mask, seg, space, template.code if template else "scanner", "; ".join(notes))


def _image(
    scan: Volume, matrix: np.ndarray, space: Space, mask: np.ndarray, settings: Settings
) -> np.ndarray:
    """The scan on the prepared grid.

    float32, as N4 leaves no whole numbers, and int16 with a slope is one more thing for readers to forget.
    """
    image = resample(scan.array, scan.affine, space, matrix, INTERPOLATIONS[settings.interpolation])
    if "strip" in settings.steps:
        image = np.where(mask, image, np.float32(0))
    if np.ptp(image[mask]) == 0:
        raise VolumeError(scan.path, "constant", "has nothing in the brain mask on the prepared grid")
    return bias.correct(image, mask) if "n4" in settings.steps else image
