"""How do several processes of one run decide together, so that none waits for one that has left?"""

import contextlib
import uuid
from collections.abc import Iterator
from pathlib import Path

import jax

from cdm_jax.checkpoint.agreement import decided_by_first
from cdm_jax.errors import UsageError
from cdm_jax.files import write_text
from cdm_jax.mesh import any_process
from cdm_jax.session.lock import locked
from cdm_jax.session.stopping import Stop


@contextlib.contextmanager
def held(workdir: Path) -> Iterator[None]:
    """The lock of `workdir`, taken by process 0 for all. Raises: UsageError in every process, if another run has it."""
    with contextlib.ExitStack() as stack:
        decided_by_first(lambda: stack.enter_context(locked(workdir)))
        yield


def together(stop: Stop) -> contextlib.AbstractContextManager:
    """Of several processes none may leave alone: signals are noted, and obeyed where all agree, see `obey`."""
    return stop.deferred() if jax.process_count() > 1 else contextlib.nullcontext()


def obey(stop: Stop) -> None:
    """Raises: StoppedError: a signal came to one of several processes while nothing was to be saved yet."""
    if jax.process_count() > 1 and any_process(stop.signal is not None):
        raise stop.error(None)


def require_shared(workdir: Path) -> None:
    """Raises: UsageError in every process: they do not see one and the same `workdir`."""
    if jax.process_count() == 1:
        return
    token = workdir / ".tmp-shared"
    written = decided_by_first(lambda: _token(token))
    apart = any_process(not (token.exists() and token.read_text() == written))
    if jax.process_index() == 0:
        token.unlink(missing_ok=True)
    if apart:
        raise UsageError(
            f"{workdir}: not the same folder for every process; give one on a file system that they share"
        )


def _token(path: Path) -> str:
    written = str(uuid.uuid4())
    write_text(path, written)
    return written
