"""How do leak-free splits get onto the disk, as tables in the published form?"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from cdm_jax.data.datasets import DATASETS, Dataset
from cdm_jax.data.datasets.leak_free import make_splits, split_and_fold
from cdm_jax.data.datasets.subject import MODALITIES, Subject
from cdm_jax.data.datasets.table import COLUMNS, to_csv
from cdm_jax.data.datasets.tree import in_modality, locate
from cdm_jax.errors import UsageError, choose
from cdm_jax.folders import atomic_folder

__all__ = ["make_splits", "write_splits"]

Splits = Mapping[str, Sequence[Subject]]


def write_splits(root: Path, splits: Mapping[str, Splits], folder: str) -> list[Path]:
    """Write the tables of every data set to the new folder `root/folder`, all of them or none.

    What was written loads by `datasets.load(..., splits=folder)`, in each modality whose scans are there.

    Args:
      splits: {name of a data set: what `make_splits` gave}; a split of nobody gets no table.
    Returns: the tables.
    Raises:
      UsageError: `root/folder` is in use or cannot be written; a data set that has no table for a split; a
        file outside `root`.
    """
    root = Path(root)
    tables = [table for name in splits for table in _tables(root, name, splits[name])]
    with atomic_folder(root / folder) as temporary:
        for file, text in tables:
            (temporary / file).write_text(text, encoding="utf-8")
    return [root / folder / file for file, _ in tables]


def _tables(root: Path, name: str, splits: Splits) -> Iterator[tuple[str, str]]:
    """(file name, text) of each table of one data set."""
    dataset = choose(DATASETS, name, "data set")
    for key, subjects in splits.items():
        split, fold = split_and_fold(key)
        if subjects and split not in dataset.splits:
            raise UsageError(
                f"{name}: has no table for {split}, but {len(subjects)} subjects in it, "
                f"such as {subjects[0].id}; move them to another data set"
            )
        if subjects:
            rows = [_row(root, dataset, subject) for subject in subjects]
            yield dataset.splits[split].format(fold=fold), to_csv(COLUMNS, rows)
    images = {subject.id: _below(root, subject.image) for subjects in splits.values() for subject in subjects}
    for modality in MODALITIES if dataset.places else ():
        paths = {id: locate(root, in_modality(path, modality)) for id, path in sorted(images.items())}
        there = [{"0": f"{id}_{modality}.nii.gz"} for id, path in paths.items() if path.is_file()]
        if modality in dataset.available or 0 < len(there) < len(images):
            yield dataset.available_table(modality), to_csv(("0",), there)


def _row(root: Path, dataset: Dataset, subject: Subject) -> dict[str, object]:
    return {
        "img_name": f"{subject.id}_t1.nii.gz",
        "age": "" if subject.age is None else subject.age,
        "label": subject.label,
        "img_path": dataset.listed(_below(root, subject.image)),
        "mask_path": _below(root, subject.mask),
        "seg_path": _below(root, subject.seg),
    }


def _below(root: Path, path: Path | None) -> str:
    """The path as tables have it: from `root`, with a leading slash; "" for no file."""
    if path is None:
        return ""
    if not path.absolute().is_relative_to(root.absolute()):
        raise UsageError(f"{path}: is not below {root}, so no table there can name it")
    return f"/{path.absolute().relative_to(root.absolute()).as_posix()}"
