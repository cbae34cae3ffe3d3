"""Is the folder of the results fit to be written to, by this run alone?"""

import contextlib
import fcntl
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from cdm_jax.data.datasets.subject import Raw
from cdm_jax.data.downloads import target
from cdm_jax.errors import UsageError
from cdm_jax.prepare import manifest


def check_apart(source: Path, data: Path) -> None:
    """Raises: UsageError: one folder holds the other, so that raw files might be overwritten."""
    a, b = source.resolve(), data.resolve()
    if a.is_relative_to(b) or b.is_relative_to(a):
        reason = "raw and prepared files need folders of their own"
        raise UsageError(f"{data}: {reason}, neither of them inside the other, but RAW is {source}")


def check_names(raws: Sequence[Raw]) -> None:
    """Raises: UsageError: two subjects have one name."""
    for id, count in Counter(raw.id for raw in raws).items():
        if count > 1:
            raise UsageError(f"{count} subjects are named '{id}': their results would overwrite each other")


@contextlib.contextmanager
def alone_in(data: Path) -> Iterator[None]:
    """Make `data` and hold it against other runs; the hold ends with this process, whatever ends it.

    Raises:
      UsageError: it cannot be made, or another run holds it.
    """
    try:
        data.mkdir(parents=True, exist_ok=True)
        folder = os.open(data, os.O_RDONLY)
    except OSError as error:
        raise UsageError(f"{data}: cannot be written ({error.strerror or error})") from error
    try:
        _hold(folder, data)
        yield
    finally:
        os.close(folder)


def _hold(folder: int, data: Path) -> None:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UsageError(f"{data}: another 'cdm prepare' is at work there") from error
    except OSError:  # a file system without locks
        return


def remove_leftovers(data: Path, layout: str, raws: Sequence[Raw]) -> None:
    """Remove what a killed run had begun, from the folders that preparation writes to."""
    kinds = {(raw.id, kind) for raw in raws for kind in (*raw.images, "mask", "seg")}
    folders = {(data / target(layout, *pair)).parent for pair in kinds}
    for folder in {data, data / manifest.FOLDER / layout, *folders}:
        for path in folder.glob(".tmp-*"):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
