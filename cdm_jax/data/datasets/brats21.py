"""Where does BraTS21 lie, patients with tumours?"""

from pathlib import Path

from cdm_jax.data.datasets.dataset import Dataset
from cdm_jax.data.datasets.download import Download, collect, patients
from cdm_jax.data.datasets.subject import Raw

BRATS21 = Dataset(
    splits={
        "val_patients": "Brats21_val.csv",
        "test_patients": "Brats21_test.csv",
    },
    places=("Test/Brats21",),
)


def _scan(root: Path) -> list[Raw]:
    """Already without skull; the T1 with contrast agent is left out."""
    found = collect(root, r"(BraTS2021_\d+)_(t1|t2|flair|seg)")
    return patients(found, {"t1": "t1", "t2": "t2", "flair": "flair"}, seg="seg")


DOWNLOAD = Download(_scan, "BraTS2021_00000_flair.nii.gz beside BraTS2021_00000_seg.nii.gz")
