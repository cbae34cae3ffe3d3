"""How does a training state get into a finished checkpoint while the training goes on?"""

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import jax

from cdm_jax.checkpoint import arrays, folder, names, record
from cdm_jax.checkpoint.agreement import decided_by_first
from cdm_jax.checkpoint.failure import SaveError
from cdm_jax.errors import CheckpointError
from cdm_jax.session.failures import first_line, is_full
from cdm_jax.session.quietly import MEANT

PATIENCE = 30  # seconds that a process which fails gives a save the others may never finish


@contextlib.contextmanager
def writer(workdir: str | Path, keep_latest: int = 2) -> Iterator["Writer"]:
    """A `Writer` for `workdir`, which has saved what it was given when the context ends.

    Raises: SaveError: the last save failed.
    """
    with arrays.without_noise():
        saves = Writer(workdir, keep_latest)
        try:
            yield saves
        except BaseException:
            saves.hurry()
            raise
        saves.wait()


class Writer:
    """Saves one checkpoint at a time, in the background.

    Keeps the newest `keep_latest` and the steps in facts["best"] ([[step, loss], ...], best first). With several
    processes each calls every method, in the same order: process 0 writes the record and deletes.
    """

    def __init__(self, workdir: str | Path, keep_latest: int = 2):
        self.workdir, self.keep_latest = Path(workdir), keep_latest
        self._pending: tuple[int, Future] | None = None
        self._failed: SaveError | None = None

    def save(self, step: int, trees: dict[str, Any], facts: dict) -> None:
        """Begin to save `trees` (of jax.Array) with `facts`; waits for an earlier save first.

        The arrays may be donated at once. A failure, also of the beginning, is told by `failure` and `wait`.

        Raises: TypeError: `facts` holds what JSON cannot; StoppedError, PeerError: as they come.
        """
        facts = record.plain(facts)  # type: ignore[assignment]
        self._settle()
        target = names.step_folder(self.workdir, step)
        try:
            decided_by_first(lambda: folder.make_room(self.workdir, step))
            writing = arrays.begin(target, trees)
        except MEANT:
            raise
        except Exception as error:  # of the file system, Orbax or TensorStore
            self._pending = step, _in_background(self._give_up, step, error)
        else:
            self._pending = step, _in_background(self._finish, step, writing, facts, list(trees))

    def failure(self) -> SaveError | None:
        """The save that failed since last asked, or None; never waits.

        With several processes it is known when they next meet, in `save` or `wait`: at the same step in all.
        """
        if self._pending and self._pending[1].done() and jax.process_count() == 1:
            self._settle()
        failed, self._failed = self._failed, None
        return failed

    def wait(self) -> None:
        """Return when the pending save is a finished checkpoint. Raises: SaveError: it failed."""
        if failed := self._settle():
            self._failed = None
            raise failed

    def hurry(self) -> None:
        """Let the pending save end, while another error ends the run; a failure is only printed."""
        if self._pending is None:
            return
        step, pending = self._pending
        try:
            pending.result(None if jax.process_count() == 1 else PATIENCE)
        except MEANT:
            raise
        except Exception as error:
            print(f"warning: {self._explain(step, error)}", file=sys.stderr)

    def _settle(self) -> SaveError | None:
        """Wait for the pending save, and agree on what became of it; its failure is kept for `failure`."""
        if self._pending is None:
            return None
        step, pending = self._pending
        error = pending.exception()
        if isinstance(error, MEANT):
            self._pending = None
            raise error
        own = [str(self._explain(step, error)), is_full(error)] if error else []
        agreed = decided_by_first(lambda: own)
        self._pending = None
        if not agreed:
            return None
        message, full = agreed
        self._failed = SaveError(str(message), bool(full))
        return self._failed

    def _finish(self, step: int, writing: arrays.Writing, facts: dict, trees: list[str]) -> None:
        """Orbax, then the record, then what may go: in this order a kill costs nothing."""
        try:
            writing.result()
            if jax.process_index() == 0:
                record.write(names.step_folder(self.workdir, step), step, facts, trees)
        except Exception as error:
            self._give_up(step, error)
        if jax.process_index() == 0:
            with contextlib.suppress(OSError):  # it is saved; what could not go now goes after the next save
                folder.settle(self.workdir, step)
                best = record.best_steps(facts)
                folder.keep(self.workdir, step, self.keep_latest, best, record.is_good)

    def _give_up(self, step: int, error: Exception) -> None:
        if jax.process_index() == 0:
            with contextlib.suppress(OSError):
                folder.give_up(self.workdir, step)
        raise error

    def _explain(self, step: int, error: BaseException) -> SaveError:
        target, full = names.step_folder(self.workdir, step), is_full(error)
        kept = names.finished(self.workdir)
        last = f"the last checkpoint is step {kept[-1]}" if kept else "there is no checkpoint yet"
        if isinstance(error, CheckpointError):  # it names what is in the way, and the way out
            return SaveError(f"{error}; step {step} is not saved, {last}", full)
        way_out = (
            "make room on this disk, and the same command goes on"
            if full
            else "see that this folder can be written"
        )
        return SaveError(
            f"{target}: not saved ({'no space left' if full else first_line(error)}); {last}; {way_out}", full
        )


def sweep(workdir: str | Path) -> list[str]:
    """Remove what a killed save left (nothing that is finished); returns the names of those folders.

    Raises: CheckpointError: the folder cannot be written.
    """

    def undo() -> list[str]:
        try:
            return folder.sweep(workdir)
        except OSError as error:
            where = names.root(workdir)
            raise CheckpointError(
                f"{where}: cannot be cleaned ({error.strerror}); see that it can be written"
            ) from error

    return decided_by_first(undo)


def _in_background(function: Callable[..., object], *args: object) -> Future:
    """Run `function` in a thread that does not keep the process alive."""
    future: Future = Future()

    def run() -> None:
        try:
            future.set_result(function(*args))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="checkpoint", daemon=True).start()
    return future
