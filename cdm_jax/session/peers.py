"""What does a process do when another one of the same run is gone?"""

import atexit
import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator

import jax

from cdm_jax.errors import CdmError, PeerError, StoppedError

GRACE = 5.0
"""Seconds that a process whose runtime gives up has for ending by itself, with its own message."""

LOST = (
    "gloo", "connection closed", "connection reset", "connection refused", "socket closed", "broken pipe",
    "unavailable", "heartbeat", "disconnected", "unhealthy", "coordination service", "coordination_service",
    "deadline_exceeded", "barrier", "remote process exited", "ncclremoteerror", "ncclsystemerror", "preempted",
)  # fmt: skip
"""What stands (in small letters) in the error of a collective whose other side is gone."""

GONE = "another process of this run is gone; start all of them again: they go on from the last checkpoint"

_HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_int)
_KEPT: list = []  # what C points at must not be collected


@contextlib.contextmanager
def peers_watched() -> Iterator[None]:
    """Turn the failure of a collective, because another process is gone, into PeerError.

    To be put around all that follows `start`. A process that fails in here leaves without waiting for the others,
    which then learn of it at once; without other processes nothing changes.
    Raises: PeerError: another process is gone.
    """
    try:
        yield
    except StoppedError:
        raise  # all processes stop together
    except BaseException as error:
        if not jax.distributed.is_initialized():
            raise
        lost = not isinstance(error, CdmError) and _is_loss(error)
        code = PeerError.exit_code if lost else getattr(error, "exit_code", 1)
        atexit.register(_leave, code)  # before JAX's own farewell, which waits for the others
        if lost:
            raise PeerError(GONE) from error
        raise


def on_abort(act: Callable[[], None]) -> None:
    """Call `act` when C++ aborts this process.

    The distributed runtime aborts, with a stack trace and whatever Python does, as soon as it hears that another
    process is gone. Python's own handlers never run then; one called from C does, on the thread that aborts.
    """
    handler = _HANDLER(lambda _: act())
    install = ctypes.CDLL(None).signal
    install.argtypes, install.restype = [ctypes.c_int, _HANDLER], ctypes.c_void_p
    install(signal.SIGABRT, handler)
    _KEPT.append(handler)


def give_up() -> None:
    """Let the main thread end with its own message, which it mostly does; else end for it."""
    time.sleep(GRACE)
    end(f"cdm: {GONE}", PeerError.exit_code)


def end(line: str, code: int) -> None:
    """Say `line` and end this process at once."""
    with contextlib.suppress(OSError):  # nobody may be left to read it
        os.write(2, f"\n{line}\n".encode())
    os._exit(code)


def _leave(code: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _is_loss(error: BaseException | None) -> bool:
    """Whether an error, or what it came from, is the runtime's and tells of another process's end."""
    while error is not None:
        text = str(error).lower()
        if isinstance(error, jax.errors.JaxRuntimeError) and any(word in text for word in LOST):
            return True
        error = error.__cause__ or error.__context__
    return False
