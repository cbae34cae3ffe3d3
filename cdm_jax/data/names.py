"""Which files are NIfTI files, going by their names?"""

import os
import stat
from pathlib import Path

from cdm_jax.errors import UsageError

SUFFIXES = (".nii.gz", ".nii")


def stem(path: str | os.PathLike) -> str:
    """The file's name without `.nii` or `.nii.gz`."""
    name = Path(path).name
    for suffix in SUFFIXES:
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


def list_volumes(path: str | os.PathLike) -> list[Path]:
    """The file `path`, or the NIfTI files directly inside the folder `path`, sorted, hidden ones skipped.

    Masks and label maps in the same folder are listed like any other file: keep them in folders of their own.

    Raises:
      UsageError: `path` does not exist, or is a folder without NIfTI files.
    """
    path = Path(path)
    if not path.is_dir():
        return [require_file(path)]
    found = sorted(
        p for p in path.iterdir() if stem(p) != p.name and not p.name.startswith(".") and p.is_file()
    )
    if not found:
        raise UsageError(f"{path}: the folder holds no .nii or .nii.gz file")
    return found


def require_file(path: str | os.PathLike) -> Path:
    """`path`, or a UsageError if it is not there, a folder, or a pipe that may never end."""
    path = Path(path)
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # ValueError: a zero byte in the name
        raise UsageError(f"{path}: no such file") from None
    if stat.S_ISDIR(mode):
        raise UsageError(f"{path}: is a folder, one NIfTI file is needed")
    if not stat.S_ISREG(mode):
        raise UsageError(f"{path}: is no regular file; copy its content into one")
    return path
