"""By which steps does each scan of a subject come to the prepared grid, which grid is that?"""

import numpy as np

from cdm_jax.errors import VolumeError
from cdm_jax.prepare import bias, register
from cdm_jax.prepare.crop import brain_box, cut
from cdm_jax.prepare.resample import resample
from cdm_jax.prepare.scans import Label, Scans
from cdm_jax.prepare.settings import Settings
from cdm_jax.prepare.space import Space, as_stored, at_spacing, same_space, space_of
from cdm_jax.prepare.template import Template
from cdm_jax.prepare.transforms import chain

SPACING = 1.0  # mm, of the prepared grid


def find_steps(scans: Scans, settings: Settings, template: Template | None) -> dict[str, list[dict]]:
    """{modality: its steps in their order}, each with its matrix [4,4] (mm, RAS) and what else is known of it.

    Scans on one grid are taken as aligned with each other.

    Raises:
      VolumeError: a registration failed.
    """
    moves = _moves(scans, settings, template) if template is not None else {}
    still: dict[str, dict] = {
        "strip": {"mask": scans.source},
        "resample": {"spacing": SPACING, "interpolation": settings.interpolation, "labels": "nearest"},
        "crop": {},
        "n4": {"shrink": bias.SHRINK, "iterations": list(bias.ITERATIONS)},
    }
    steps: dict[str, list[dict]] = {modality: [] for modality in scans.volumes}
    for modality, taken in steps.items():
        for step in settings.steps:
            taken += moves[modality] if step == "register" else [_step(step, np.eye(4), **still[step])]
    return steps


def matrix_of(steps: list[dict]) -> np.ndarray:
    """All steps, one after the other."""
    return chain(np.array(step["matrix"]) for step in steps)


def carry(label: Label, scans: Scans, matrices: dict[str, np.ndarray], space: Space) -> np.ndarray:
    """A mask or label map on the prepared grid, from the nearest voxels."""
    affine = scans.volumes[label.modality].affine
    return resample(label.voxels, affine, space, matrices[label.modality], order=0)


def find_space(
    scans: Scans, matrices: dict[str, np.ndarray], settings: Settings, template: Template | None
) -> tuple[Space, np.ndarray]:
    """The prepared grid, and the brain mask on it: the template's grid, or the reference's, at 1 mm, cropped.

    Raises:
      VolumeError: no brain there; or scans on several grids, and no step that brings them onto one.
    """
    space = space_of(scans.reference) if template is None else Space(template.array.shape, template.affine)
    if "resample" in settings.steps:
        space = at_spacing(space, SPACING)
    else:
        _require_one_grid(scans)
    space = as_stored(space)
    mask = _brain_on(space, scans, matrices)
    if "crop" in settings.steps:
        box = brain_box(mask)
        space, mask = as_stored(cut(space, box)), np.ascontiguousarray(mask[box])
    return space, mask


def _moves(scans: Scans, settings: Settings, template: Template) -> dict[str, list[dict]]:
    """{modality: alignment with the scan that leads, where it needs one, then registration to the template}.

    The scan on whose grid the mask lies leads: only there is the mask sure to fit, as headers may disagree.
    """
    leader = scans.brain.modality
    reference = scans.volumes[leader]
    home = space_of(reference)
    mask = _brain_on(home, scans, dict.fromkeys(scans.volumes, np.eye(4)))
    found = register.to_template(reference, mask, template, stripped="strip" in settings.steps)
    last = _step("register", found.matrix, **found.facts)
    moves = {}
    for modality, scan in scans.volumes.items():
        if same_space(space_of(scan), home):
            moves[modality] = [last]
        else:
            found = register.to_scan(scan, reference, mask)
            moves[modality] = [_step(f"align with {leader}", found.matrix, **found.facts), last]
    return moves


def _brain_on(space: Space, scans: Scans, matrices: dict[str, np.ndarray]) -> np.ndarray:
    mask = carry(scans.brain, scans, matrices, space)
    if not mask.any():
        raise VolumeError(
            scans.reference.path, "empty-mask", "none of its brain mask lies on the prepared grid"
        )
    return mask


def _require_one_grid(scans: Scans) -> None:
    home = space_of(scans.reference)
    for scan in scans.volumes.values():
        if not same_space(space_of(scan), home):
            code = "shape-mismatch" if scan.array.shape != home.shape else "affine-mismatch"
            reason = f"lies on another grid than {scans.reference.path}; add the step 'resample'"
            raise VolumeError(scan.path, code, reason)


def _step(name: str, matrix: np.ndarray, **facts) -> dict:
    return {"step": name, "matrix": matrix.tolist(), **facts}
