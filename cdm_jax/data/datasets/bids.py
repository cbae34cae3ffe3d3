"""Which subjects are in a BIDS dataset, or in a derivative of one?

ROOT/sub-01[/ses-1]/anat/sub-01[_ses-1]_T1w.nii.gz        also T2w, FLAIR
ROOT/[derivatives/NAME/]sub-01/anat/*_desc-brain_mask     or label-brain; label-L, -R, -WMH, -lesion, desc-*lesion
ROOT/participants.tsv                                     optional; age, and group or diagnosis

Each session, and each of several acquisitions or runs, is a subject of its own; `Subject.person` binds them.
"""

import re
from pathlib import Path

from cdm_jax.data.datasets.bids_files import (
    by_person,
    choose_images,
    choose_mask,
    is_brain_mask,
    is_lesion_mask,
    list_files,
)
from cdm_jax.data.datasets.download import Download
from cdm_jax.data.datasets.scanned import Scanned
from cdm_jax.data.datasets.subject import Raw
from cdm_jax.data.datasets.table import read_table

HEALTHY = {"control", "controls", "healthy", "healthy control", "hc", "hv", "cn", "normal", "ctrl", "ctl"}
GROUPS = ("group", "diagnosis", "dx")
UNKNOWN = {"", "n/a", "na", "nan"}


def scan(root: Path) -> list[Raw]:
    """Every session of the dataset; see the head of this file.

    Who is healthy: as participants.tsv says, or else who has no lesion mask in any session or space.

    Raises:
      UsageError: several files for one image or mask, none of them better than the others.
    """
    files = list_files(root)
    people = _participants(root / "participants.tsv")
    masks, lesions = (by_person(filter(kind, files)) for kind in (is_brain_mask, is_lesion_mask))
    found = []
    for id, images in sorted(choose_images(files).items()):
        sub = next(iter(images.values())).entities["sub"]
        mask, lesion = (choose_mask(candidates.get(sub, []), images) for candidates in (masks, lesions))
        age, healthy = people.get(sub, (None, None))
        patient = sub in lesions if healthy is None else not healthy
        paths = {modality: file.path for modality, file in images.items()}
        found.append(Raw(id, paths, mask, lesion, int(patient), age))
    return found


def _participants(path: Path) -> dict[str, tuple[float | None, bool | None]]:
    """{"01": (age, whether healthy)}, None where the table does not say."""
    if not path.is_file():
        return {}
    people = {}
    for row in read_table(path, ("participant_id",), delimiter="\t"):
        cells = {name.lower(): (cell or "").strip().lower() for name, cell in row.items() if name}
        age = re.match(r"\d+(\.\d+)?", cells.get("age", ""))  # also of "89+"
        groups = [cells[name] for name in GROUPS if cells.get(name, "") not in UNKNOWN]
        healthy = groups[0] in HEALTHY if groups else None
        people[row["participant_id"].removeprefix("sub-")] = (float(age[0]) if age else None, healthy)
    return people


BIDS = Scanned(
    splits={
        "train": "bids_train_fold{fold}.csv",
        "val": "bids_val_fold{fold}.csv",
        "test_healthy": "bids_test.csv",
        "val_patients": "bids_patients_val.csv",
        "test_patients": "bids_patients_test.csv",
    },
    scan=scan,
    holds=lambda root: any(root.glob("sub-*/")),
)

DOWNLOAD = Download(scan, "sub-01/anat/sub-01_T1w.nii.gz (or T2w, FLAIR), with or without sessions")
