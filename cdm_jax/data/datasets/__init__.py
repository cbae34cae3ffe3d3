"""Which data sets are there, and which subjects are in a split?"""

from pathlib import Path

from cdm_jax.data.datasets.atlas import ATLAS
from cdm_jax.data.datasets.bids import BIDS
from cdm_jax.data.datasets.brats21 import BRATS21
from cdm_jax.data.datasets.dataset import Dataset
from cdm_jax.data.datasets.folder import FOLDER
from cdm_jax.data.datasets.ixi import IXI
from cdm_jax.data.datasets.mslub import MSLUB
from cdm_jax.data.datasets.phantom import PHANTOM
from cdm_jax.data.datasets.subject import Raw, Subject
from cdm_jax.data.datasets.tree import read_split
from cdm_jax.data.datasets.wmh import WMH
from cdm_jax.errors import choose

__all__ = ["DATASETS", "Dataset", "Raw", "Subject", "load", "present", "read_split"]

DATASETS: dict[str, Dataset] = {
    "phantom": PHANTOM,
    "ixi": IXI,
    "brats21": BRATS21,
    "mslub": MSLUB,
    "atlas": ATLAS,
    "wmh": WMH,
    "bids": BIDS,
    "folder": FOLDER,
}


def load(
    name: str,
    root: Path,
    split: str,
    modality: str,
    fold: int = 0,
    splits: str = "splits",
    require: bool = True,
) -> list[Subject]:
    """The subjects of `split` ("train", "val", "test_healthy", "val_patients" or "test_patients").

    Args:
      splits: the folder below `root` that holds the tables.
      require: refuse files that a table lists but that are not there.
    Raises:
      UsageError: unknown data set, split or modality, or a tree that does not hold them.
    """
    return choose(DATASETS, name, "data set").load(root, split, modality, fold, splits, require)


def present(root: Path, splits: str = "splits") -> dict[str, Dataset]:
    """The data sets that `root` holds: by their tables, or by their scans where there are no tables yet."""
    return {name: dataset for name, dataset in DATASETS.items() if dataset.present(root, splits)}
