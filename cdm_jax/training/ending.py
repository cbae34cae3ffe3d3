"""How does a run say what ended it?"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from cdm_jax.checkpoint import SaveError
from cdm_jax.checkpoint.folder import finished
from cdm_jax.errors import CheckpointError, DivergedError, StoppedError
from cdm_jax.session.failures import causes, is_full, one_line
from cdm_jax.training.watch import AnyWatch


@contextlib.contextmanager
def outcome(watch: AnyWatch) -> Iterator[None]:
    """Tell `watch` how the block ended."""
    try:
        yield
    except StoppedError as error:
        watch.ended("interrupted" if error.exit_code == 130 else "preempted", str(error))
        raise
    except BaseException as error:
        watch.ended("diverged" if isinstance(error, DivergedError) else "failed", one_line(error))
        raise
    watch.ended("finished")


@contextlib.contextmanager
def full_disk_told(workdir: Path) -> Iterator[None]:
    """Raises: CheckpointError: in place of any error that a full disk or quota stands behind."""
    try:
        yield
    except Exception as error:
        if isinstance(error, SaveError) or not is_full(error):
            raise
        where = next(
            (str(cause.filename) for cause in causes(error) if isinstance(cause, OSError) and cause.filename),
            workdir,
        )
        there = finished(workdir)  # of this process alone: the others may be gone
        kept = f"the checkpoint of step {there[-1]} is whole" if there else "nothing was saved yet"
        raise CheckpointError(
            f"{where}: no space left; {kept}. Free some, and the same command goes on"
        ) from error
