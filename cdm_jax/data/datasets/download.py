"""How are the files of a download told apart by their names?"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cdm_jax.data.datasets.subject import Raw
from cdm_jax.data.datasets.volumes import list_volumes
from cdm_jax.data.names import stem
from cdm_jax.errors import UsageError

Files = dict[str, dict[str, Path]]
"""{id: {what a file's name says of its content, in lower case: the file}}"""


@dataclass(frozen=True)
class Download:
    """scan(root) -> every subject of a download; `form`: what its files are called, for messages."""

    scan: Callable[[Path], list[Raw]]
    form: str


def collect(root: Path, pattern: str, beside: str = "") -> Files:
    """NIfTI files, in any depth, whose name without ending matches `pattern`, by its groups (id, what).

    Args:
      pattern: upper and lower case do not matter; an id that the name lacks is the folder's name.
      beside: the name of a folder whose files are passed over.
    Raises:
      UsageError: two files of one id say the same of themselves.
    """
    found: Files = {}
    for path in list_volumes(root, deep=True):
        name = re.fullmatch(pattern, stem(path), re.IGNORECASE)
        folders = path.relative_to(root).parts[:-1]
        if name and beside not in folders:
            files = found.setdefault(name[1] or path.parent.name, {})
            refuse_second(path, files.get(name[2].lower()))
            files[name[2].lower()] = path
    return found


def refuse_second(path: Path, first: Path | None) -> None:
    """Raises: UsageError: `path` stands for what another file stood for already."""
    if first is not None:
        raise UsageError(f"{path}: stands for the same as {first}; keep, or give a folder with, one of them")


def patients(found: Files, names: dict[str, str], seg: str, mask: str = "") -> list[Raw]:
    """Those of `found` that have a lesion map and an image; `names`: {what: modality}."""
    cases = []
    for id, files in sorted(found.items()):
        images = {modality: files[what] for what, modality in names.items() if what in files}
        if images and seg in files:
            cases.append(Raw(id, images, files.get(mask), files[seg], label=1, age=None))
    return cases
