"""Where does WMH lie, white matter hyperintensities?"""

import re
from pathlib import Path

from cdm_jax.data.datasets.dataset import Dataset
from cdm_jax.data.datasets.download import Download, refuse_second
from cdm_jax.data.datasets.subject import Raw
from cdm_jax.data.datasets.volumes import list_volumes
from cdm_jax.data.names import stem

WMH = Dataset(
    splits={
        "val_patients": "WMH_val.csv",
        "test_patients": "WMH_test.csv",
    },
    places=("Test/WMH",),
)

SITES = {"Utrecht", "Singapore", "Amsterdam"}


def _scan(root: Path) -> list[Raw]:
    """FLAIR, and T1 on its grid, before the organisers' bias correction where those are there.

    Of the labels only 1 is a white matter hyperintensity; 2 is other pathology.
    """
    found: dict[str, Raw] = {}
    for seg in (path for path in list_volumes(root, deep=True) if stem(path).lower() == "wmh"):
        id = _id(seg.parent)
        refuse_second(seg, found[id].seg if id in found else None)
        found[id] = Raw(id, _images(seg.parent), None, seg, label=1, age=None, seg_values=(1,))
    return [raw for raw in found.values() if raw.images]


def _images(case: Path) -> dict[str, Path]:
    found = {}
    for place in ("pre", "orig"):  # the later one counts
        for path in list_volumes(case / place):
            if (modality := stem(path).lower()) in ("t1", "flair"):
                found[modality] = path
    return found


def _id(case: Path) -> str:
    """Amsterdam_GE3T_100 of .../training/Amsterdam/GE3T/100: no number stands twice in the whole download."""
    parts = case.absolute().parts
    start = max((i for i, part in enumerate(parts) if part in SITES), default=-1)
    return "_".join(re.sub(r"[^A-Za-z0-9]", "", part) for part in parts[start:])


DOWNLOAD = Download(_scan, "Utrecht/0/orig/FLAIR.nii.gz (or pre/) beside Utrecht/0/wmh.nii.gz")
