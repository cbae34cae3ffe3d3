"""What does an error say: is the disk full, and what of it fits into one line?"""

import errno
import os
from collections.abc import Iterator

FULL = (errno.ENOSPC, errno.EDQUOT)
FULL_TEXTS = tuple(os.strerror(number) for number in FULL)  # TensorStore reports the error as text


def is_full(error: BaseException) -> bool:
    """Whether a full disk, or what one may use of it, is anywhere among the causes of `error`."""
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


def one_line(error: BaseException) -> str:
    """The kind of an error, with the first line of its text."""
    text = first_line(error)
    return type(error).__name__ if text == type(error).__name__ else f"{type(error).__name__}: {text}"
