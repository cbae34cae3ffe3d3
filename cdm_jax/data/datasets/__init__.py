"""Which data sets are there, and which subjects are in a split?"""

from pathlib import Path

from cdm_jax.data.datasets.atlas import ATLAS
from cdm_jax.data.datasets.brats21 import BRATS21
from cdm_jax.data.datasets.ixi import IXI
from cdm_jax.data.datasets.mslub import MSLUB
from cdm_jax.data.datasets.phantom import PHANTOM
from cdm_jax.data.datasets.tree import Dataset, Subject, read_split
from cdm_jax.data.datasets.wmh import WMH
from cdm_jax.errors import choose

__all__ = ["DATASETS", "Dataset", "Subject", "load", "read_split"]

DATASETS: dict[str, Dataset] = {
    "phantom": PHANTOM,
    "ixi": IXI,
    "brats21": BRATS21,
    "mslub": MSLUB,
    "atlas": ATLAS,
    "wmh": WMH,
}


def load(name: str, root: Path, split: str, modality: str, fold: int = 0) -> list[Subject]:
    """The subjects of `split` ("train", "val", "test_healthy", "val_patients" or "test_patients").

    Raises:
      UsageError: unknown data set, split or modality, or a tree that does not hold them.
    """
    return choose(DATASETS, name, "data set").load(root, split, modality, fold)
