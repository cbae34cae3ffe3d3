"""Where does ATLAS v2 lie, patients after a stroke in T1 alone?"""

from pathlib import Path

from cdm_jax.data.datasets.dataset import Dataset
from cdm_jax.data.datasets.download import Download, collect, patients
from cdm_jax.data.datasets.subject import Raw

ATLAS = Dataset(
    splits={
        "val_patients": "ATLAS_v2_val.csv",
        "test_patients": "ATLAS_v2_test.csv",
    },
    places=("Test/ATLAS_v2",),
)

NAME = r"(sub-[a-z0-9]+(?:_ses-[a-z0-9]+)?)(?:_space-[a-z0-9]+)?_(T1w|label-L_desc-T1lesion_mask)"


def _scan(root: Path) -> list[Raw]:
    return patients(collect(root, NAME), {"t1w": "t1"}, seg="label-l_desc-t1lesion_mask")


DOWNLOAD = Download(_scan, "sub-r001s001_ses-1_*_T1w.nii.gz beside its *_label-L_desc-T1lesion_mask.nii.gz")
