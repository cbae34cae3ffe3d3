"""Which files belong together?"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cdm_jax.data.check.tables import Row
from cdm_jax.data.datasets.subject import MODALITIES, Raw, Subject


@dataclass(frozen=True)
class Case:
    """A subject's images by modality, its mask and its label map."""

    dataset: str
    id: str
    person: str
    patient: bool
    mask: Path | None
    seg: Path | None
    images: dict[str, Path]

    @property
    def files(self) -> list[Path]:
        """All of them."""
        return [*self.images.values(), *(path for path in (self.mask, self.seg) if path)]


def gather(dataset: str, rows: Sequence[Row], raws: Iterable[Raw], modality: str | None) -> list[Case]:
    """One case a subject: of all rows, then of those `raws` whose scans stand in no row.

    An image that is not there belongs to its case if its modality is the given one, or at least half of the
    data set has it; other images only if they are there.
    """
    needed = _needed(rows) if modality is None else {modality}
    listed = {row.subject.image for row in rows}
    scans = [
        (row.modality, row.subject) for row in rows if row.modality in needed or row.subject.image.is_file()
    ]
    scans += [
        (name, subject)
        for raw in raws
        for name in (raw.images if modality is None else [modality])
        if (subject := raw.subject(name)) and subject.image not in listed
    ]
    found: dict[tuple[str, str, bool, Path | None, Path | None], dict[str, Path]] = {}
    for name, subject in scans:
        whose = subject.id, subject.person, subject.label > 0, subject.mask, subject.seg
        images = found.setdefault(whose, {})
        if subject.image not in images.values():  # one that serves in any modality is kept under the first
            images[name] = subject.image
    return [Case(dataset, *whose, images) for whose, images in found.items()]


def people(rows: Iterable[Row], raws: Iterable[Raw]) -> list[Subject]:
    """Everybody once, with one image of whatever modality, those with none left out."""
    known = [row.subject for row in rows]  # tables say more than places, so they come first
    known += [subject for raw in raws for name in raw.images if (subject := raw.subject(name))]
    there = {subject.id: subject for subject in reversed(known) if subject.image.is_file()}
    return [subject for _, subject in sorted(there.items())]


def _needed(rows: Iterable[Row]) -> set[str]:
    """The modalities that at least half of the subjects have, or the first if nobody has any."""
    images: dict[str, set[Path]] = {}
    for row in rows:
        images.setdefault(row.modality, set()).add(row.subject.image)
    shares = {name: sum(p.is_file() for p in paths) / len(paths) for name, paths in images.items()}
    needed = {name for name, share in shares.items() if share >= 0.5}
    return needed or {max(shares, key=lambda name: shares[name], default=MODALITIES[0])}
