"""Which NIfTI files lie in a folder, going by their names?"""

from collections.abc import Iterator
from pathlib import Path

from cdm_jax.data.names import stem
from cdm_jax.errors import UsageError


def list_volumes(folder: Path, deep: bool = False) -> list[Path]:
    """NIfTI files in `folder`, and if `deep` in the folders below, by name; what is hidden is left out.

    A link that leads nowhere is listed: whoever reads it says that the file is missing.

    Raises:
      UsageError: a name that is not UTF-8, which no table could hold.
    """
    found = sorted(_volumes(folder, deep))
    for path in found:
        _refuse_undecodable(path)
    return found


def holds_volumes(folder: Path) -> bool:
    """Whether `list_volumes` would find any."""
    return any(_volumes(folder, deep=False))


def _volumes(folder: Path, deep: bool) -> Iterator[Path]:
    paths = (folder.rglob("*") if deep else folder.iterdir()) if folder.is_dir() else ()
    for path in paths:
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if stem(path) != path.name and not hidden and not path.is_dir():
            yield path


def _refuse_undecodable(path: Path) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        shown = str(path).encode(errors="backslashreplace").decode()
        raise UsageError(f"{shown}: the name is not UTF-8; rename it") from None
