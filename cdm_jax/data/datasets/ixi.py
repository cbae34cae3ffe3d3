"""Where does IXI lie, the healthy training set?"""

import re
from pathlib import Path

from cdm_jax.data.datasets.dataset import Dataset
from cdm_jax.data.datasets.download import Download, collect
from cdm_jax.data.datasets.subject import Raw
from cdm_jax.data.datasets.table import read_table

IXI = Dataset(
    splits={
        "train": "IXI_train_fold{fold}.csv",
        "val": "IXI_val_fold{fold}.csv",
        "test_healthy": "IXI_test.csv",
    },
    available={"t2": "avail_t2.csv"},
    places=("Train/ixi",),
)


def _scan(root: Path) -> list[Raw]:
    """T1 and T2; ages from IXI.csv, exported from the download's IXI.xls, where it is there."""
    ages = _ages(root)
    found = collect(root, r"(IXI\d+-[A-Z]+-\d+)-(T1|T2)")
    return [Raw(id, files, None, None, 0, ages.get(id.split("-")[0])) for id, files in sorted(found.items())]


def _ages(root: Path) -> dict[str, float]:
    """{"IXI002": years}; a row without an age is passed over, as is a person's second."""
    ages: dict[str, float] = {}
    for path in sorted(root.rglob("IXI.csv")):
        for row in read_table(path, ("IXI_ID", "AGE")):
            if re.fullmatch(r"\s*\d+(\.\d+)?\s*", row["AGE"]) and row["IXI_ID"].strip().isdigit():
                ages.setdefault(f"IXI{int(row['IXI_ID']):03}", float(row["AGE"]))
    return ages


DOWNLOAD = Download(_scan, "IXI002-Guys-0828-T1.nii.gz")
