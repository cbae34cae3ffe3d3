"""Atomic output of a folder: one that exists is complete."""

import contextlib
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from cdm_jax.errors import UsageError


def refuse_used(path: str | Path) -> None:
    """Raises: UsageError: `path` is a file, or a folder that holds something."""
    path = Path(path)
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise UsageError(f"{path}: exists already; choose a new folder")


@contextlib.contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; on success rename it to `path`, which must be new or empty.

    Raises:
      UsageError: `path` is in use, or cannot be written.
    """
    path = Path(path).absolute()
    refuse_used(path)
    temporary = path.parent / f".tmp-{uuid.uuid4().hex[:8]}-{path.name}"
    try:
        temporary.mkdir(parents=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
