"""What of a failure to read is damage, and what may pass?"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from cdm_jax.errors import CheckpointError

Value = TypeVar("Value")

LASTING = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
"""What no later attempt will mend; other errors are of the disk, the network or of permissions."""

WAITS = (0.1, 0.4)
"""Seconds before the attempts after the first."""


class UnreadableError(CheckpointError):
    """A checkpoint that cannot be read now, and may be whole."""


def patiently(read: Callable[[], Value], path: Path) -> Value:
    """What `read` returns; asked again a moment later where it fails in a way that may pass.

    Raises: UnreadableError: it failed to the last; one of LASTING: as it came.
    """
    for wait in WAITS:
        try:
            return read()
        except LASTING:
            raise
        except OSError:
            time.sleep(wait)
    try:
        return read()
    except LASTING:
        raise
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> UnreadableError:
    """The refusal to call a checkpoint damaged, or to go on without it, for what may pass."""
    return UnreadableError(
        f"{path}: cannot be read now ({error.strerror or error}): try again; "
        "if it stays so, move this checkpoint away to go on from an earlier one"
    )
