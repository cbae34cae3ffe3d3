"""Which files belong to the subjects of a split, in the published folder tree?"""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cdm_jax.errors import UsageError, choose

COLUMNS = ("img_name", "age", "label", "img_path", "mask_path", "seg_path")
MODALITIES = ("t1", "t2", "flair")
_MODALITY = "(?i:t1|t2|flair)"


@dataclass(frozen=True)
class Subject:
    """One row of a split table; `label` is 0 for healthy, `mask` and `seg` are None where there is none."""

    id: str
    image: Path
    mask: Path | None
    seg: Path | None
    label: int
    age: float | None


@dataclass(frozen=True)
class Dataset:
    """The names of a data set's tables in `splits/`; `{fold}` and `{modality}` are filled in.

    `available` names, for a modality in which not all were scanned, the table of those who were.
    """

    splits: dict[str, str]
    available: dict[str, str] = field(default_factory=dict)

    def load(self, root: Path, split: str, modality: str, fold: int = 0) -> list[Subject]:
        """The subjects of one split; see `read_split`."""
        name = choose(self.splits, split, "split").format(fold=fold, modality=modality)
        return read_split(root, name, modality, self.available.get(modality))


def read_split(root: Path, csv_name: str, modality: str, available: str | None = None) -> list[Subject]:
    """Read `root/splits/csv_name`; paths inside it start at `root`, with or without a leading slash.

    The published tables name the T1 scan: its folder and suffix are replaced by `modality`. An empty
    mask_path, seg_path or age means there is none.

    Args:
      available: a table in `splits/` whose column "0" names the scans that exist; other rows are left out.
    Raises:
      UsageError: missing folder, table, column or file; a label that is no number; no subjects.
    """
    if modality not in MODALITIES:
        raise UsageError(f"unknown modality '{modality}': choose one of {', '.join(MODALITIES)}")
    table = Path(root) / "splits" / csv_name
    rows = _read_table(table, COLUMNS)
    if available is not None:
        keep = {subject_id(row["0"]) for row in _read_table(table.with_name(available), ("0",))}
        rows = [row for row in rows if subject_id(row["img_name"]) in keep]
    if not rows:
        raise UsageError(f"{table}: no subjects in this split; choose another split or make a larger cohort")
    return [_subject(Path(root), table, row, modality) for row in rows]


def _read_table(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    if not path.is_file():
        root = path.parent.parent
        if not path.parent.is_dir():
            raise UsageError(f"{root}: no folder 'splits' there; give the folder that holds Train and Test")
        known = ", ".join(sorted(p.name for p in path.parent.glob("*.csv"))) or "none"
        raise UsageError(f"{path}: no such split table; tables in that folder: {known}")
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        missing = [name for name in columns if name not in (reader.fieldnames or ())]
        if missing:
            raise UsageError(f"{path}: column '{missing[0]}' is missing; needed are {', '.join(columns)}")
        return list(reader)


def _subject(root: Path, table: Path, row: dict[str, str], modality: str) -> Subject:
    if not (row["img_path"] or "").strip():
        raise UsageError(f"{table}: column 'img_path' is empty for '{row['img_name']}'; fill it in")
    image = _locate(root, in_modality(row["img_path"], modality))
    mask, seg = (_locate(root, row[c]) if (row[c] or "").strip() else None for c in ("mask_path", "seg_path"))
    for path in (image, mask, seg):
        if path is not None and not path.is_file():
            raise UsageError(f"{path}: not there, but listed in {table}; are all {modality} files there?")
    return Subject(
        id=subject_id(row["img_name"]),
        image=image,
        mask=mask,
        seg=seg,
        label=int(_number(table, row, "label")),
        age=_number(table, row, "age") if (row["age"] or "").strip() else None,
    )


def subject_id(img_name: str) -> str:
    """`img_name` without file ending and modality: the same for all scans of a person."""
    return re.sub(rf"[_-]{_MODALITY}$", "", re.sub(r"\.nii(\.gz)?$", "", img_name.strip()))


def in_modality(path: str, modality: str) -> str:
    """The path of the same person's scan in `modality`: its folder and the file name's suffix replaced."""
    path = re.sub(rf"(?<=/){_MODALITY}(?=/)", modality, path)
    return re.sub(rf"(?<=[_-]){_MODALITY}(?=\.nii(\.gz)?$)", modality, path)


def _locate(root: Path, path: str) -> Path:
    """`path` below `root`; upper and lower case may differ (the published tables say IXI, the tree ixi)."""
    found = root
    for part in Path(path.strip().lstrip("/")).parts:
        exact = found / part
        found = exact if exact.exists() else next(_same_but_case(found, part), exact)
    return found


def _same_but_case(folder: Path, name: str) -> Iterator[Path]:
    children = sorted(folder.iterdir()) if folder.is_dir() else []
    return (child for child in children if child.name.lower() == name.lower())


def _number(table: Path, row: dict[str, str], column: str) -> float:
    try:
        return float(row[column])
    except (TypeError, ValueError):
        raise UsageError(
            f"{table}: column '{column}' of '{row['img_name']}' is '{row[column]}', which is not a number"
        ) from None
