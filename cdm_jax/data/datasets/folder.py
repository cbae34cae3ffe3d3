"""Which subjects are in a folder of NIfTI files with optional masks and labels?

ROOT/images/ID.nii.gz     or directly in ROOT; ID_t2.nii.gz or images/t2/ID.nii.gz tell the modality
ROOT/masks/ID.nii.gz      optional; brain masks
ROOT/labels/ID.nii.gz     optional; who has one is a patient
ROOT/subjects.csv         optional; columns id, age, label (0 healthy, 1 patient)

In nnU-Net's form (imagesTr/ID_0000.nii.gz, labelsTr/), dataset.json says which channel is which modality.
"""

import re
from collections.abc import Container, Iterator
from pathlib import Path

from cdm_jax.data.datasets import nnunet
from cdm_jax.data.datasets.dataset import PEOPLE
from cdm_jax.data.datasets.download import Download, refuse_second
from cdm_jax.data.datasets.scanned import Scanned
from cdm_jax.data.datasets.subject import ANY, MODALITIES, MODALITY, VISIT, Raw, subject_id
from cdm_jax.data.datasets.table import Person, read_people
from cdm_jax.data.datasets.volumes import holds_volumes, list_volumes
from cdm_jax.data.names import stem
from cdm_jax.errors import UsageError

FOREIGN = {"t1ce", "t1gd", "t1c", "pd", "pdw", "dwi", "adc", "swi", "bet", "brain"}
"""Contrasts that are not taken, and derived files: left out where the person's own scans are there."""
IMAGES, MASKS, LABELS = ("images", "imagesTr"), ("masks", "masksTr"), ("labels", "labelsTr")
_MASK = re.compile(r"(?<!lesion)_((brain|bet)_?)?mask$", re.IGNORECASE)
_LABEL = re.compile(r"_(seg(mentation)?|labels?|lesions?|lesion_?mask|gt)$", re.IGNORECASE)


def scan(root: Path) -> list[Raw]:
    """Every subject in the folder; an image that does not tell its modality serves in any.

    Raises:
      UsageError: two files for one image, mask or label; a mask, label or row that belongs to no image.
    """
    paths = _images(root)
    channels = nnunet.channels(root, paths)
    images: dict[str, dict[str, Path]] = {}
    for path in paths:
        id, modality = nnunet.read_name(path, channels) if channels else _read_name(path)
        if modality:
            _put(images.setdefault(id, {}), modality, path)
    images = {id: scans for id, scans in images.items() if not _derived(id, scans, images)}
    masks = _beside(root, MASKS, _MASK, images)
    labels = _beside(root, LABELS, _LABEL, images)
    people = read_people(root / PEOPLE)
    if unknown := sorted(people.keys() - images.keys()):
        raise UsageError(f"{root / PEOPLE}: '{unknown[0]}' has no image; correct the id, or take the row out")
    return [
        _raw(id, images[id], masks.get(id), labels.get(id), people.get(id, Person())) for id in sorted(images)
    ]


def _raw(id: str, images: dict[str, Path], mask: Path | None, seg: Path | None, person: Person) -> Raw:
    label = int(seg is not None) if person.label is None else person.label
    return Raw(id, images, mask, seg, label, person.age)


def _derived(id: str, scans: dict[str, Path], images: Container[str]) -> bool:
    """Whether these are scans of another contrast, or derived files, of somebody whose scans are there.

    Raises:
      UsageError: an id that goes on after another one's, so that one person might count as two.
    """
    ends = [match.start() for match in re.finditer("[_-]", id)]
    for end in reversed(ends):
        if (other := subject_id(id[:end])) in images and not VISIT.match(id[end:]):
            if all(word in FOREIGN for word in re.split("[_-]", id[end + 1 :].lower())):
                return True
            path = next(iter(scans.values()))
            raise UsageError(
                f"{path}: is this somebody else than '{other}'? rename it, or take it out of the folder"
            )
    return False


def _images(root: Path) -> list[Path]:
    """Files of images: of ROOT itself those that are not named as mask or label."""
    named = [path for name in IMAGES for path in list_volumes(root / name)]
    named += [
        path for name in IMAGES for modality in MODALITIES for path in list_volumes(root / name / modality)
    ]
    if any((root / name).is_dir() for name in IMAGES):
        return named
    return [path for path in list_volumes(root) if not any(p.search(stem(path)) for p in (_LABEL, _MASK))]


def _read_name(path: Path) -> tuple[str, str]:
    """(id, modality or ANY) of an image."""
    suffix = re.search(rf"[_-]({MODALITY})$", stem(path))
    if suffix:
        return subject_id(path.name), suffix[1].lower().removesuffix("w")
    return stem(path), path.parent.name if path.parent.name in MODALITIES else ANY


def _beside(root: Path, folders: tuple[str, ...], suffix: re.Pattern, images: dict) -> dict[str, Path]:
    """{id: mask or label}, from folders of their own, or from ROOT by their suffix."""
    paths = [path for name in folders for path in list_volumes(root / name)]
    if not any((root / name).is_dir() for name in IMAGES):
        paths += [path for path in list_volumes(root) if suffix.search(stem(path))]
    found: dict[str, Path] = {}
    for path in paths:
        id = next((id for id in _ids(stem(path), suffix) if id in images), None)
        if id is None:
            raise UsageError(f"{path}: belongs to no image; name it as its image is named")
        _put(found, id, path)
    return found


def _ids(name: str, suffix: re.Pattern) -> Iterator[str]:
    """Whose mask or label a file may be: the name as it is, then without suffix, then without modality."""
    yield name
    yield suffix.sub("", name)
    yield subject_id(suffix.sub("", name))
    yield nnunet.CHANNEL.sub("", name)


def _put(found: dict[str, Path], key: str, path: Path) -> None:
    refuse_second(path, found.get(key))
    found[key] = path


def _holds(root: Path) -> bool:
    return any((root / name).is_dir() for name in IMAGES) or holds_volumes(root)


FOLDER = Scanned(
    splits={
        "train": "folder_train_fold{fold}.csv",
        "val": "folder_val_fold{fold}.csv",
        "test_healthy": "folder_test.csv",
        "val_patients": "folder_patients_val.csv",
        "test_patients": "folder_patients_test.csv",
    },
    scan=scan,
    holds=_holds,
)

DOWNLOAD = Download(scan, "images/NAME.nii.gz, or NIfTI files directly in it")
