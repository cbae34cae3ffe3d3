"""Which checkpoint is good, and what does it hold?"""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from cdm_jax.checkpoint import arrays, folder, record
from cdm_jax.checkpoint.agreement import decided_by_first
from cdm_jax.errors import CheckpointError


def steps(workdir: str | Path) -> list[int]:
    """Finished checkpoints, ascending; whether they are undamaged, `verify` says."""
    return decided_by_first(lambda: folder.finished(workdir))


def verify(workdir: str | Path, step: int, parts: Collection[str] | None = None) -> dict:
    """The facts of a checkpoint, every file of which has the size and SHA-256 of its record.

    Args: parts: names of the trees in question; all for None.
    Raises: CheckpointError: names the file that is missing, changed or not of this checkpoint.
    """
    return decided_by_first(lambda: record.check(folder.step_folder(workdir, step), step, parts))


def last_good(workdir: str | Path) -> tuple[int | None, list[str]]:
    """(the newest step that verifies, or None; a complaint for each newer one that does not)."""

    def search() -> tuple[int | None, list[str]]:
        complaints = []
        for step in reversed(folder.finished(workdir)):
            try:
                record.check(folder.step_folder(workdir, step), step)
            except CheckpointError as error:
                complaints.append(str(error))
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
    return arrays.load(folder.step_folder(workdir, step), like), facts


def restore_variables(workdir: str | Path, like: dict) -> tuple[dict, int]:
    """(variables, step) of the best checkpoint of `workdir`, or else of the newest, shaped like `like`.

    Raises: CheckpointError: there is none, or as `restore`.
    """
    step = decided_by_first(lambda: _best(workdir))
    trees, _ = restore(workdir, step, {"variables": like})
    return trees["variables"], step


def _best(workdir: str | Path) -> int:
    if not folder.root(workdir).is_dir():
        raise CheckpointError(
            f"{workdir}: no checkpoints here; train first with 'cdm train --workdir={workdir}'"
        )
    if not (found := folder.finished(workdir)):
        raise CheckpointError(f"{folder.root(workdir)}: holds no finished checkpoint; train first")
    newest = found[-1]
    facts = record.read(folder.step_folder(workdir, newest), newest)["facts"]
    return next(iter(record.best_steps(facts)), newest)
