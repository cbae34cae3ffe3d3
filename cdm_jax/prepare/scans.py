"""What is read of a subject, and on whose grid do its mask and its label map lie?"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cdm_jax.data import volume as volumes
from cdm_jax.data.brain_mask import estimate_mask
from cdm_jax.data.datasets.subject import MODALITIES, Raw
from cdm_jax.data.volume import Volume
from cdm_jax.errors import VolumeError
from cdm_jax.prepare import strip
from cdm_jax.prepare.settings import Settings

OTHER_GRID = ("shape-mismatch", "affine-mismatch")
FOREGROUND = "mask from the foreground"


@dataclass(frozen=True, eq=False)
class Label:
    """Voxels bool [H,W,D] on the raw grid of the scan in `modality`."""

    voxels: np.ndarray
    modality: str


@dataclass(frozen=True, eq=False)
class Scans:
    """A subject as read: `volumes` by modality; `name`, the modality of the reference, which leads the others
    to the prepared grid; its brain, where that comes from in words; its lesions."""

    volumes: dict[str, Volume]
    name: str
    brain: Label
    source: str
    seg: Label | None

    @property
    def reference(self) -> Volume:
        return self.volumes[self.name]


def read_scans(raw: Raw, settings: Settings, scratch: Path, max_gb: float) -> Scans:
    """Read all files of a subject and find its brain. The reference is the first of t1, t2, flair that is there.

    Args:
      scratch: folder for temporary files.
    Raises:
      UsageError, VolumeError: a file is missing or cannot be used, or the brain is not found.
    """
    found = {modality: volumes.read(path, max_gb) for modality, path in raw.images.items()}
    name = next((modality for modality in MODALITIES if modality in found), next(iter(found)))
    seg = _read_label(raw.seg, found, name, max_gb, raw.seg_values) if raw.seg else None
    return Scans(found, name, *_find_brain(raw, found, name, settings, scratch, max_gb), seg)


def _find_brain(raw, found, name, settings, scratch, max_gb) -> tuple[Label, str]:
    """As given, as the command finds it, or the foreground: of a scan that is not to be stripped, any."""
    stripping = "strip" in settings.steps
    if raw.mask is not None:
        label = _read_label(raw.mask, found, name, max_gb)
        if not label.voxels.any():
            raise VolumeError(raw.mask, "empty-mask", "the mask is empty (no voxel above 0.5)")
        return label, "mask given"
    if stripping and settings.mask_command:
        mask = strip.run_command(found[name], settings.mask_command, scratch, max_gb)
        return Label(mask, name), "mask by command"
    mask = strip.foreground(found[name]) if stripping else estimate_mask(found[name])
    return Label(mask, name), FOREGROUND


def _read_label(path, found, name, max_gb, values: tuple[int, ...] = ()) -> Label:
    """A mask or label map; of two scans on whose grid it lies, the reference counts."""
    order = sorted(found, key=lambda modality: modality != name)
    for modality in order:
        try:
            labels = volumes.read_labels(path, found[modality], max_gb)
        except VolumeError as error:
            if error.code in OTHER_GRID and modality != order[-1]:
                continue
            raise
        return Label(np.isin(np.rint(labels), values) if values else labels > 0.5, modality)
    raise AssertionError("the last one returned or raised")
