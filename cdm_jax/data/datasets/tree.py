"""Which files belong to the subjects of a split, in the published folder tree?"""

import re
from collections.abc import Iterator
from pathlib import Path

from cdm_jax.data.datasets.subject import MODALITIES, MODALITY, Subject, subject_id
from cdm_jax.data.datasets.table import COLUMNS, number, read_table
from cdm_jax.errors import UsageError, choose


def read_split(
    root: Path,
    csv_name: str,
    modality: str | None,
    available: str | None = None,
    splits: str = "splits",
    require: bool = True,
) -> list[Subject]:
    """Read `root/splits/csv_name`; paths inside it start at `root`, with or without a leading slash.

    The published tables name the T1 scan: its folder and suffix are replaced by `modality` (None: not). An
    empty mask_path, seg_path or age means there is none.

    Args:
      available: a table in `splits/` whose column "0" names the scans that exist; other rows are left out.
      require: refuse a table that lists files which are not there, or lists none.
    Raises:
      UsageError: missing folder, table, column or file; a label that is no number; no subjects.
    """
    if modality is not None:
        choose(dict.fromkeys(MODALITIES), modality, "modality")
    table = Path(root) / splits / csv_name
    rows = read_table(table, COLUMNS)
    if available is not None:
        keep = {subject_id(row["0"]) for row in read_table(table.with_name(available), ("0",))}
        rows = [row for row in rows if subject_id(row["img_name"]) in keep]
    if not rows and require:
        raise UsageError(f"{table}: no subjects in this split; choose another split or make a larger cohort")
    subjects = [_subject(Path(root), table, row, modality) for row in rows]
    if require:
        _refuse_missing(subjects, table, modality or "image")
    return subjects


def _refuse_missing(subjects: list[Subject], table: Path, what: str) -> None:
    for subject in subjects:
        for path in (subject.image, subject.mask, subject.seg):
            if path is not None and not path.is_file():
                raise UsageError(f"{path}: not there, but listed in {table}; are all {what} files there?")


def _subject(root: Path, table: Path, row: dict[str, str], modality: str | None) -> Subject:
    if not row["img_path"].strip():
        raise UsageError(f"{table}: column 'img_path' is empty for '{row['img_name']}'; fill it in")
    mask, seg = (locate(root, row[c]) if row[c].strip() else None for c in ("mask_path", "seg_path"))
    return Subject(
        id=subject_id(row["img_name"]),
        image=locate(root, in_modality(row["img_path"], modality) if modality else row["img_path"]),
        mask=mask,
        seg=seg,
        label=int(number(table, row, "label")),
        age=number(table, row, "age") if row["age"].strip() else None,
    )


def in_modality(path: str, modality: str) -> str:
    """The path of the same person's scan in `modality`: its folder and the file name's suffix replaced."""
    path = re.sub(rf"(?<=/){MODALITY}(?=/)", modality, path)
    return re.sub(rf"(?<=[_-]){MODALITY}(?=(?i:\.nii(\.gz)?)$)", modality, path)


def locate(root: Path, path: str) -> Path:
    """`path` below `root`; upper and lower case may differ (the published tables say IXI, the tree ixi)."""
    found = root
    for part in Path(path.strip().lstrip("/")).parts:
        exact = found / part
        found = exact if exact.exists() else next(_same_but_case(found, part), exact)
    return found


def _same_but_case(folder: Path, name: str) -> Iterator[Path]:
    children = sorted(folder.iterdir()) if folder.is_dir() else []
    return (child for child in children if child.name.lower() == name.lower())
