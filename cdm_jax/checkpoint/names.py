"""What do the names in a run's folder of checkpoints mean?

STEP                        finished if it holds a record
STEP.begun                  a file of ours: STEP is being written, so that without a record it is nobody's
STEP.orbax-checkpoint-tmp   being written
STEP.replaced               the former STEP, set aside while it is written anew
STEP.deleted                being removed
STEP.damaged                a former STEP that was found damaged; read by nobody
"""

import re
from pathlib import Path

RECORD = "record.json"
BEGUN, REPLACED, DELETED, DAMAGED = ".begun", ".replaced", ".deleted", ".damaged"
STEP = r"(0|[1-9]\d*)"
OURS = re.compile(STEP + r"(\.replaced|\.deleted|\.orbax-checkpoint-tmp.*)?")


def root(workdir: str | Path) -> Path:
    """The folder of all checkpoints of a run."""
    return (Path(workdir) / "checkpoints").absolute()


def step_folder(workdir: str | Path, step: int) -> Path:
    return root(workdir) / str(step)


def beside(folder: Path, suffix: str) -> Path:
    """STEP.suffix beside STEP or STEP.another."""
    return folder.with_name(folder.name.partition(".")[0] + suffix)


def is_finished(folder: Path) -> bool:
    return (folder / RECORD).is_file()


def is_unrecorded(folder: Path) -> bool:
    """Whether something stands in STEP that no save of ours left there: of an earlier version, or a bad copy.

    The order matters where a run is saving: its record comes before its file STEP.begun goes.
    """
    return (
        folder.is_dir()
        and not beside(folder, BEGUN).exists()
        and not is_finished(folder)
        and any(folder.glob("*"))
    )


def finished(workdir: str | Path) -> list[int]:
    """Steps with a record, ascending."""
    return sorted(step for step, suffix, path in entries(workdir) if not suffix and is_finished(path))


def unrecorded(workdir: str | Path) -> list[int]:
    """Steps of which `is_unrecorded` holds, ascending."""
    return sorted(step for step, suffix, path in entries(workdir) if not suffix and is_unrecorded(path))


def entries(workdir: str | Path) -> list[tuple[int, str, Path]]:
    """(step, suffix, path) of every folder that a save makes; what else stands there is left alone."""
    return [(step, suffix, path) for step, suffix, path in _matches(workdir, OURS) if path.is_dir()]


def begun(workdir: str | Path) -> list[int]:
    """Steps whose save has begun, and has not come to its end."""
    return [step for step, _, _ in _matches(workdir, re.compile(STEP + f"({re.escape(BEGUN)})"))]


def damaged(workdir: str | Path) -> list[tuple[int, Path]]:
    """(step, folder) of what was set aside because it was damaged, ascending."""
    named = _matches(workdir, re.compile(STEP + f"({re.escape(DAMAGED)})"))
    return sorted((step, path) for step, _, path in named)


def _matches(workdir: str | Path, pattern: re.Pattern) -> list[tuple[int, str, Path]]:
    folder = root(workdir)
    named = [(pattern.fullmatch(path.name), path) for path in folder.iterdir()] if folder.is_dir() else []
    return [(int(match[1]), match[2] or "", path) for match, path in named if match]
