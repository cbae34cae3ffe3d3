"""Numbers a run leaves behind: one JSON line a record, and the same as CSV."""

import csv
import io
import json
from pathlib import Path

from cdm_jax.files import write_text


def read(path: Path) -> list[dict]:
    """All whole records of a JSON-lines file; none if it does not exist."""
    return (
        [record for line in path.read_text().splitlines() if (record := _record(line))]
        if path.exists()
        else []
    )


def _record(line: str) -> dict | None:
    """The record of a line; None for half a line, which a killed run may leave."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and "step" in record else None


def rewind(path: Path, step: int) -> None:
    """Drop every record past `step`, which a resumed run will write again; what happened to the run stays."""
    kept = [record for record in read(path) if record["step"] <= step or "event" in record]
    if path.exists():
        write_text(path, "".join(json.dumps(record) + "\n" for record in kept))


def append(path: Path, *records: dict) -> None:
    """Add records, each as a line."""
    with path.open("a") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)


def to_csv(records: list[dict]) -> str:
    """The records as CSV text, columns in the order of first appearance, empty where a record lacks one."""
    columns = list(dict.fromkeys(name for record in records for name in record))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()
