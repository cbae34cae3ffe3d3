"""Who stands in which split, as the tables say?"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cdm_jax.data.check.fault import Fault
from cdm_jax.data.datasets import Dataset
from cdm_jax.data.datasets.subject import Subject, subject_id
from cdm_jax.data.datasets.table import COLUMNS, number, read_table
from cdm_jax.errors import UsageError


@dataclass(frozen=True)
class Place:
    """One split of one data set; the fold is None where all folds share the table."""

    dataset: str
    split: str
    fold: int | None
    table: Path


@dataclass(frozen=True)
class Row:
    """A subject's scan in one modality, and where it stands."""

    place: Place
    modality: str
    subject: Subject


def read_rows(
    root: Path, name: str, dataset: Dataset, modalities: Iterable[str], splits: str
) -> tuple[list[Row], list[Fault]]:
    """The rows of every table of a data set, in each modality; the tables that cannot be read."""
    rows: list[Row] = []
    faults: list[Fault] = []
    for split, fold in dataset.offered(root, splits):
        pattern = dataset.splits[split]
        table = root / splits / pattern.format(fold=fold)
        place = Place(name, split, fold if "{fold}" in pattern else None, table)
        for modality in modalities:
            try:
                subjects = dataset.load(root, split, modality, fold, splits, require=False)
            except UsageError as error:
                faults += _table_faults(table, error)
            else:
                rows += [Row(place, modality, subject) for subject in subjects]
    return rows, faults


def repeated_ids(rows: Iterable[Row]) -> Iterator[Fault]:
    """Subjects that stand more than once in a table."""
    counts = Counter((row.place.table, row.modality, row.subject.id) for row in rows)
    for (table, _, id), count in counts.items():
        if count > 1:
            yield Fault(table, "duplicate-id", id, f"stands in {count} rows")


def _table_faults(table: Path, error: UsageError) -> Iterator[Fault]:
    """Every row that is wrong, or, where no single row is, what `error` says of the table."""
    try:
        rows = read_table(table, COLUMNS)
    except UsageError:
        rows = []
    messages = [
        (subject_id(row["img_name"]), str(wrong)) for row in rows for wrong in _row_errors(table, row)
    ]
    for subject, message in messages or [("", str(error))]:
        file, _, what = message.partition(": ")
        yield Fault(Path(file), "bad-table", subject, what)


def _row_errors(table: Path, row: dict[str, str]) -> Iterator[UsageError]:
    if not row["img_path"].strip():
        yield UsageError(f"{table}: column 'img_path' is empty for '{row['img_name']}'")
    for column in ("label", "age"):
        if column == "label" or row[column].strip():
            try:
                number(table, row, column)
            except UsageError as error:
                yield error
