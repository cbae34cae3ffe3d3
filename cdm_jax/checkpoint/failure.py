"""Why could a checkpoint not be saved?"""

import errno
import os
from collections.abc import Iterator

from cdm_jax.errors import CheckpointError

FULL = (errno.ENOSPC, errno.EDQUOT)
FULL_TEXTS = tuple(os.strerror(number) for number in FULL)  # TensorStore reports the error as text


class SaveError(CheckpointError):
    """A checkpoint that could not be saved; `full`: because the disk, or what one may use of it, is full."""

    def __init__(self, message: str, full: bool = False):
        super().__init__(message, full)  # both, so that it crosses processes by pickle
        self.full = full

    def __str__(self) -> str:
        return self.args[0]


def is_full(error: BaseException) -> bool:
    """Whether a full disk is anywhere among the causes of `error`."""
    return any(
        (isinstance(cause, OSError) and cause.errno in FULL) or any(text in str(cause) for text in FULL_TEXTS)
        for cause in causes(error)
    )


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """`error`, what it was raised from, and so on."""
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def first_line(error: BaseException, most: int = 300) -> str:
    """What `error` says, in one line that fits into another."""
    text = str(error).strip()
    return text.splitlines()[0][:most] if text else type(error).__name__
