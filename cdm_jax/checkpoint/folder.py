"""Where do the checkpoints of a run stand, and which of them are finished?

Every change is one rename, so that a kill at any moment leaves either what was there or what shall be:

    STEP                        finished if it holds a record
    STEP.orbax-checkpoint-tmp   being written
    STEP.replaced               the former STEP, set aside while it is written anew
    STEP.deleted                being removed
"""

import contextlib
import os
import re
import shutil
from collections.abc import Collection
from pathlib import Path

RECORD = "record.json"
REPLACED, DELETED = ".replaced", ".deleted"
OURS = re.compile(r"(0|[1-9]\d*)(\.replaced|\.deleted|\.orbax-checkpoint-tmp.*)?")


def root(workdir: str | Path) -> Path:
    """The folder of all checkpoints of a run."""
    return (Path(workdir) / "checkpoints").absolute()


def step_folder(workdir: str | Path, step: int) -> Path:
    return root(workdir) / str(step)


def is_finished(folder: Path) -> bool:
    return (folder / RECORD).is_file()


def finished(workdir: str | Path) -> list[int]:
    """Steps with a record, ascending."""
    return sorted(step for step, suffix, path in _entries(workdir) if not suffix and is_finished(path))


def make_room(workdir: str | Path, step: int) -> None:
    """Let nothing stand where `step` is about to be written; a finished checkpoint there is set aside."""
    root(workdir).mkdir(parents=True, exist_ok=True)
    give_up(workdir, step)
    folder = step_folder(workdir, step)
    if is_finished(folder):
        folder.rename(_beside(folder, REPLACED))
        sync(folder.parent)


def give_up(workdir: str | Path, step: int) -> list[str]:
    """Remove what an unfinished save of `step` left, and put back what it had set aside; returns the names."""
    names = []
    for found, suffix, path in _entries(workdir):
        if found == step and (suffix or not is_finished(path)):
            if suffix != REPLACED:
                delete(path)
            names.append(path.name)
    folder = step_folder(workdir, step)
    aside = _beside(folder, REPLACED)
    if is_finished(aside) and not folder.exists():
        aside.rename(folder)
        sync(folder.parent)
    delete(aside)
    return names


def sweep(workdir: str | Path) -> list[str]:
    """Undo what killed saves left half done; returns the names of the folders in question."""
    steps = sorted({step for step, _, _ in _entries(workdir)})
    return [name for step in steps for name in give_up(workdir, step)]


def keep(workdir: str | Path, step: int, newest: int, also: Collection[int]) -> None:
    """Delete all but `step`, the newest before it (`newest` of them with it), and the steps in `also`.

    Steps after `step` go: they were damaged, or the run would not have gone on from before them.
    """
    there = finished(workdir)
    past = [found for found in there if found <= step]
    kept = {step, *past[-max(newest, 1) :], *also}
    for found in there:
        if found not in kept:
            delete(step_folder(workdir, found))
    delete(_beside(step_folder(workdir, step), REPLACED))


def delete(folder: Path) -> None:
    """Remove a folder that may be there; its first change is one after which it is no checkpoint any more."""
    if not folder.exists():
        return
    grave = _beside(folder, DELETED)
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


def _beside(folder: Path, suffix: str) -> Path:
    """STEP.suffix beside STEP or STEP.another."""
    return folder.with_name(folder.name.partition(".")[0] + suffix)


def _entries(workdir: str | Path) -> list[tuple[int, str, Path]]:
    """(step, suffix, path) of every folder that is ours; what else stands there is left alone."""
    folder = root(workdir)
    named = [(OURS.fullmatch(path.name), path) for path in folder.iterdir()] if folder.is_dir() else []
    return [(int(match[1]), match[2] or "", path) for match, path in named if match and path.is_dir()]
