"""Numbers a run leaves behind: one JSON line a record, and the same as CSV."""

import csv
import io
import json
from pathlib import Path

from cdm_jax.files import write_text


def read(path: Path) -> list[dict]:
    """All records of a JSON-lines file; none if it does not exist. Raises: ValueError: a line is no record."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def rewind(path: Path, step: int) -> None:
    """Drop every record past `step`, which a resumed run will write again; what happened to the run stays.

    So does not half a line, which a killed run may leave.
    """
    if path.exists():
        records = [record for line in path.read_text().splitlines() if (record := _whole(line))]
        kept = [record for record in records if record["step"] <= step or "event" in record]
        write_text(path, "".join(json.dumps(record) + "\n" for record in kept))


def _whole(line: str) -> dict | None:
    try:
        return json.loads(line)
    except ValueError:
        return None


def append(path: Path, *records: dict) -> None:
    """Add records, each as a line."""
    with path.open("a") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)


def append_csv(path: Path, record: dict, log: Path) -> None:
    """Add a record to the CSV file; where that lacks one of its columns, make it anew of `log`, which ends with it."""
    with path.open(newline="") if path.exists() else io.StringIO() as file:
        columns = next(csv.reader(file), [])
    if record.keys() - columns:
        write_text(path, to_csv(read(log)))
        return
    with path.open("a", newline="") as file:
        csv.DictWriter(file, columns, lineterminator="\n").writerow(record)


def to_csv(records: list[dict]) -> str:
    """The records as CSV text, columns in the order of first appearance, empty where a record lacks one."""
    columns = list(dict.fromkeys(name for record in records for name in record))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()
