"""How does a table of splits or people come from a CSV file?"""

import csv
import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cdm_jax.errors import UsageError
from cdm_jax.files import write_text

COLUMNS = ("img_name", "age", "label", "img_path", "mask_path", "seg_path")
"""Of a published split table."""


def read_table(path: Path, columns: tuple[str, ...], delimiter: str = ",") -> list[dict[str, str]]:
    """The rows of a CSV file; an absent cell reads as "".

    Raises:
      UsageError: no such table, no text, or one of `columns` is missing.
    """
    require_table(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, delimiter=delimiter, restval="")
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            if missing:
                raise UsageError(f"{path}: column '{missing[0]}' is missing; needed are {', '.join(columns)}")
            return list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: not a table in UTF-8 text ({error})") from error


def require_table(path: Path) -> None:
    """Raises: UsageError: no such table; it names those that are there."""
    if path.is_file():
        return
    if not path.parent.is_dir():
        folder = path.parent
        raise UsageError(
            f"{folder.parent}: no folder '{folder.name}' there; put the split tables into it, or write some by "
            f"'cdm check {folder.parent} --write-splits {folder.name}'"
        )
    known = ", ".join(sorted(p.name for p in path.parent.glob("*.csv"))) or "none"
    raise UsageError(f"{path}: no such split table; tables in that folder: {known}")


def number(table: Path, row: dict[str, str], column: str) -> float:
    """The number in `column`. Raises: UsageError: it is none."""
    try:
        if not math.isfinite(value := float(row[column])):
            raise ValueError(value)
        return value
    except (TypeError, ValueError):
        name = row.get("img_name", row.get("id"))
        raise UsageError(
            f"{table}: column '{column}' of '{name}' is '{row[column]}', which is not a number"
        ) from None


@dataclass(frozen=True)
class Person:
    """What a list of people says of one; None where it says nothing."""

    age: float | None = None
    label: int | None = None


def read_people(path: Path) -> dict[str, Person]:
    """{id: what is known} of a table with the column id and, both optional, age and label; {} if there is none."""
    if not path.is_file():
        return {}
    people = {}
    for row in read_table(path, ("id",)):
        known = {name: number(path, row, name) for name in ("age", "label") if (row.get(name) or "").strip()}
        people[row["id"].strip()] = Person(
            known.get("age"), int(known["label"]) if "label" in known else None
        )
    return people


def write_people(path: Path, people: dict[str, Person]) -> None:
    """Write, or add to, the table that `read_people` reads."""
    known = read_people(path) | people
    rows = [{"id": id} | {k: v for k, v in vars(known[id]).items() if v is not None} for id in sorted(known)]
    write_text(path, to_csv(("id", "age", "label"), rows))


def to_csv(columns: tuple[str, ...], rows: Iterable[Mapping[str, object]]) -> str:
    """The rows as CSV text."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
