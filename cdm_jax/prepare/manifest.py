"""What was a finished subject made from, and does it still stand as it was made?

A manifest is written last. Where it is, and what it says is so, the subject is done.
"""

import hashlib
import importlib.metadata
import json
from pathlib import Path

from cdm_jax import __version__
from cdm_jax.files import write_json

FOLDER = "manifest"
LIBRARIES = ("SimpleITK", "nibabel", "numpy", "scipy")


def versions() -> dict[str, str]:
    """Of everything that computes voxels."""
    return {"cdm_jax": __version__} | {name: importlib.metadata.version(name) for name in LIBRARIES}


def manifest_path(data: Path, layout: str, id: str) -> Path:
    """Where a subject's manifest lies; ids of two downloads may be the same."""
    return data / FOLDER / layout / f"{id}.json"


def file_hash(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_done(data: Path, layout: str, id: str, made_from: dict) -> dict | None:
    """The manifest of a subject that need not be done again, else None.

    Args:
      made_from: the manifest's facts that decide, as they are now: parameters, inputs {file: hash}, roles
        {modality, mask or seg: file}.
    """
    facts = read(manifest_path(data, layout, id))
    if facts is None or any(facts.get(name) != value for name, value in made_from.items()):
        return None
    return facts if all(_stands(data / file, value) for file, value in facts["outputs"].items()) else None


def forget(data: Path, layout: str, id: str) -> None:
    """Remove what an earlier run made of the subject, so that nothing old stands beside what is made now.

    The manifest goes last: killed before, the next run finds files missing and still knows which are left.
    """
    facts = read(manifest_path(data, layout, id))
    for file in facts["outputs"] if facts else ():
        (data / file).unlink(missing_ok=True)
    manifest_path(data, layout, id).unlink(missing_ok=True)


def write(data: Path, layout: str, id: str, facts: dict, files: list[str]) -> dict:
    """Write the manifest over `files`, which stand complete, and return it."""
    facts = facts | {"outputs": {file: file_hash(data / file) for file in files}}
    write_json(manifest_path(data, layout, id), facts)
    return facts


def read(path: Path) -> dict | None:
    """A manifest, None where there is none or it is damaged."""
    try:
        facts = json.loads(path.read_text())
        return facts if {"parameters", "inputs", "outputs"} <= facts.keys() else None
    except (OSError, ValueError, AttributeError):
        return None


def _stands(path: Path, value: str) -> bool:
    return path.is_file() and file_hash(path) == value
