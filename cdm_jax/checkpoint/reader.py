"""Which checkpoint is good, and what does it hold?"""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import jax

from cdm_jax.checkpoint import arrays, names, record
from cdm_jax.checkpoint.agreement import decided_by_first
from cdm_jax.checkpoint.folder import unrecorded_error
from cdm_jax.checkpoint.reading import UnreadableError, patiently
from cdm_jax.errors import CheckpointError

TRIES = 3
"""Attempts at the best checkpoint, while a run that is going on may delete or replace it."""


def steps(workdir: str | Path) -> list[int]:
    """Finished checkpoints, ascending; whether they are undamaged, `verify` says.

    Raises: CheckpointError: there are only folders without a record, which no save of ours left.
    """

    def finished() -> list[int]:
        found, strange = _there(workdir)
        if strange and not found:
            raise unrecorded_error(names.step_folder(workdir, strange[-1]))
        return found

    return decided_by_first(finished)


def verify(workdir: str | Path, step: int, parts: Collection[str] | None = None) -> dict:
    """The facts of a checkpoint, every file of which has the size and SHA-256 of its record.

    Args: parts: names of the trees in question; all for None.
    Raises: CheckpointError: names the file that is missing, changed or not of this checkpoint; or that cannot be
    read now (UnreadableError), which tells nothing of the checkpoint.
    """
    return decided_by_first(lambda: record.check(names.step_folder(workdir, step), step, parts))


def last_good(workdir: str | Path) -> tuple[int | None, list[str]]:
    """(the newest step that verifies, or None; a complaint for each newer one that does not).

    Raises: UnreadableError: a newer one cannot be read now.
    """

    def search() -> tuple[int | None, list[str]]:
        complaints = []
        found, strange = _there(workdir)
        for step in sorted(found + strange, reverse=True):
            try:
                record.check(names.step_folder(workdir, step), step)
            except UnreadableError:
                raise
            except CheckpointError as error:
                aside = f"; a save of this step or an earlier one sets it aside as {step}{names.DAMAGED}"
                complaints.append(f"{error}{aside if step in found else ''}")
            else:
                return step, complaints
        return None, complaints

    step, complaints = decided_by_first(search)
    return step, complaints


def restore(workdir: str | Path, step: int, like: dict[str, Any]) -> tuple[dict[str, Any], dict]:
    """(the trees named in `like`, placed as its arrays or ShapeDtypeStructs say; the facts).

    The devices may be others, and more or fewer, than those that saved.

    Raises: CheckpointError: as `verify`; or of another architecture, with the names that differ.
    """
    facts = verify(workdir, step, list(like))
    return arrays.load(names.step_folder(workdir, step), like), facts


def restore_variables(workdir: str | Path, like: dict) -> tuple[dict, int]:
    """(variables, step) of the best checkpoint of `workdir`, or else of the newest, shaped like `like`.

    Raises: CheckpointError: there is none, or as `restore`.
    """
    for left in reversed(range(TRIES)):
        step = decided_by_first(lambda: _best(workdir))
        before = _identity(workdir, step)
        try:
            trees, _ = restore(workdir, step, {"variables": like})
            return trees["variables"], step
        except CheckpointError:
            now = _identity(workdir, step)
            stood_still = now is not None and now == before
            if stood_still or not left or jax.process_count() > 1:  # one process cannot try again alone
                raise
    raise AssertionError("unreachable")


def _best(workdir: str | Path) -> int:
    """The best step that is there, or else the newest."""
    if not names.root(workdir).is_dir():
        raise CheckpointError(
            f"{workdir}: no checkpoints here; train first with 'cdm train --workdir={workdir}'"
        )
    found, strange = _there(workdir)
    if not found and strange:
        raise unrecorded_error(names.step_folder(workdir, strange[-1]))
    if not found:
        raise CheckpointError(f"{names.root(workdir)}: holds no finished checkpoint; train first")
    newest = found[-1]
    facts = record.read(names.step_folder(workdir, newest), newest)["facts"]
    return next((step for step in record.best_steps(facts) if step in found), newest)


def _there(workdir: str | Path) -> tuple[list[int], list[int]]:
    """(finished steps, steps without a record that no save of ours left), each ascending."""
    return patiently(lambda: (names.finished(workdir), names.unrecorded(workdir)), names.root(workdir))


def _identity(workdir: str | Path, step: int) -> tuple[int, int] | None:
    """What changes when a checkpoint is replaced; None when it is gone."""
    try:
        seen = (names.step_folder(workdir, step) / names.RECORD).stat()
    except OSError:
        return None
    return seen.st_ino, seen.st_mtime_ns
