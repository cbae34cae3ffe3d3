"""What is known of a subject, before any file is opened?"""

import re
from dataclasses import dataclass
from pathlib import Path

from cdm_jax.data.names import stem

MODALITIES = ("t1", "t2", "flair")
ANY = "image"
"""Stands for the modality of an image whose place does not tell it."""
MODALITY = "(?i:t1w?|t2w?|flair)"
VISIT = re.compile(r"[_-](ses|run)(\d|-\w).*$", re.IGNORECASE)
"""What an id has after the person: `_ses1`, `_ses-02_run-1`."""


@dataclass(frozen=True)
class Subject:
    """One scan of one split; `label` is 0 for healthy, `mask` and `seg` are None where there is none."""

    id: str
    image: Path
    mask: Path | None
    seg: Path | None
    label: int
    age: float | None

    @property
    def person(self) -> str:
        """Who was scanned: the `sub-XX` of a BIDS id, else the id, up to its session or run."""
        found = re.match(r"sub-[A-Za-z0-9]+", self.id)
        return found.group() if found else VISIT.sub("", self.id)


@dataclass(frozen=True)
class Raw:
    """A subject's files where they lie, {modality or `ANY`: image}; the label map's voxels may say more than
    lesion or not: only those equal to one of `seg_values` count, where that is not empty."""

    id: str
    images: dict[str, Path]
    mask: Path | None
    seg: Path | None
    label: int
    age: float | None
    seg_values: tuple[int, ...] = ()

    def subject(self, modality: str) -> Subject | None:
        """The subject in `modality`, or None where it was not scanned so."""
        image = self.images.get(modality, self.images.get(ANY))
        return Subject(self.id, image, self.mask, self.seg, self.label, self.age) if image else None


def subject_id(name: str) -> str:
    """A file name without ending and modality: the same for all scans of a person."""
    return re.sub(rf"[_-]{MODALITY}$", "", stem(name.strip()))
