"""How does the folder of checkpoints change, so that a kill at any moment costs nothing?

Every change is one rename (see `names`), so that there is either what was there or what shall be.
"""

import contextlib
import os
import shutil
from collections.abc import Callable, Collection
from pathlib import Path

from cdm_jax.checkpoint.names import (
    BEGUN,
    DAMAGED,
    DELETED,
    REPLACED,
    begun,
    beside,
    damaged,
    entries,
    finished,
    is_finished,
    step_folder,
)
from cdm_jax.errors import CheckpointError

UNRECORDED = (
    "has no record: of an earlier version, or its record is lost; "
    "move this folder away, or train in a new folder"
)
MOST_DAMAGED = 2


def unrecorded_error(folder: Path) -> CheckpointError:
    """The refusal of a folder of which `names.is_unrecorded` holds."""
    return CheckpointError(f"{folder}: {UNRECORDED}")


def make_room(workdir: str | Path, step: int) -> None:
    """Let nothing stand where `step` is about to be written, and note that it is; a finished one is set aside.

    Raises: CheckpointError: something stands there that is not ours to remove.
    """
    folder = step_folder(workdir, step)
    folder.parent.mkdir(parents=True, exist_ok=True)
    give_up(workdir, step)
    if is_finished(folder):
        folder.rename(beside(folder, REPLACED))
        sync(folder.parent)
    if folder.exists():
        raise unrecorded_error(folder)
    with beside(folder, BEGUN).open("wb") as note:
        os.fsync(note.fileno())
    sync(folder.parent)


def settle(workdir: str | Path, step: int) -> None:
    """Forget that a save of `step` began: it is finished, or nothing of it is left."""
    beside(step_folder(workdir, step), BEGUN).unlink(missing_ok=True)


def give_up(workdir: str | Path, step: int) -> list[str]:
    """Remove what an unfinished save of `step` left, and put back what it had set aside; returns the names."""
    folder = step_folder(workdir, step)
    names, ours = [], beside(folder, BEGUN).exists()
    for found, suffix, path in entries(workdir):
        unfinished = ours and not suffix and not is_finished(path)
        if found == step and (suffix or unfinished or _is_empty(path)):
            if suffix != REPLACED:
                delete(path)
            names.append(path.name)
    aside = beside(folder, REPLACED)
    if is_finished(aside) and not folder.exists():
        aside.rename(folder)
        sync(folder.parent)
    delete(aside)
    settle(workdir, step)
    return names


def sweep(workdir: str | Path) -> list[str]:
    """Undo what killed saves left half done; returns the names of the folders in question."""
    steps = sorted({step for step, _, _ in entries(workdir)} | {*begun(workdir)})
    return [name for step in steps for name in give_up(workdir, step)]


def keep(
    workdir: str | Path,
    step: int,
    newest: int,
    also: Collection[int],
    is_good: Callable[[Path, int], bool],
) -> None:
    """Delete all but `step`, the newest before it (`newest` of them with it), and the steps in `also`.

    Steps after `step` go, and the former `step`: the run would not have gone on from before them had they been
    good. Those that are damaged indeed are set aside, for a person to look at.
    """
    there = finished(workdir)
    past = [found for found in there if found <= step]
    kept = {step, *past[-max(newest, 1) :], *also}
    for found in set(there) - kept:
        folder = step_folder(workdir, found)
        delete(folder) if found < step or is_good(folder, found) else _set_aside(folder)
    former = beside(step_folder(workdir, step), REPLACED)
    if former.exists():
        delete(former) if is_good(former, step) else _set_aside(former)
    for _, path in damaged(workdir)[:-MOST_DAMAGED]:
        delete(path)


def _set_aside(folder: Path) -> None:
    """Rename a damaged checkpoint to STEP.damaged, in the place of an earlier one."""
    delete(beside(folder, DAMAGED))
    folder.rename(beside(folder, DAMAGED))
    sync(folder.parent)


def delete(folder: Path) -> None:
    """Remove a folder that may be there; its first change is one after which it is no checkpoint any more."""
    if not folder.exists():
        return
    grave = beside(folder, DELETED)
    if folder != grave:
        shutil.rmtree(grave, ignore_errors=True)
        folder.rename(grave)
        sync(grave.parent)
    shutil.rmtree(grave)


def sync(folder: Path) -> None:
    """Bring the names in `folder` to the disk, where the system can."""
    with contextlib.suppress(OSError):
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def _is_empty(folder: Path) -> bool:
    return not any(folder.iterdir())
