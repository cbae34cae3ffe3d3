"""Where does MSLUB lie, patients with multiple sclerosis?"""

from pathlib import Path

from cdm_jax.data.datasets.dataset import Dataset
from cdm_jax.data.datasets.download import Download, collect, patients
from cdm_jax.data.datasets.subject import Raw

MSLUB = Dataset(
    splits={
        "val_patients": "MSLUB_val.csv",
        "test_patients": "MSLUB_test.csv",
    },
    places=("Test/MSLUB",),
)


def _scan(root: Path) -> list[Raw]:
    """The co-registered scans; those in raw/ lie in spaces of their own."""
    found = collect(root, r"(?:(patient\d+)_)?(T1W|T2W|FLAIR|brainmask|consensus_gt)", beside="raw")
    names = {"t1w": "t1", "t2w": "t2", "flair": "flair"}
    return patients(found, names, seg="consensus_gt", mask="brainmask")


DOWNLOAD = Download(_scan, "patient01/patient01_FLAIR.nii.gz beside patient01_consensus_gt.nii.gz")
