"""How does a thing that nobody may wait for fail? With one line, while the training goes on."""

import contextlib
import errno
import sys
from collections.abc import Iterator

from cdm_jax.errors import DivergedError, PeerError, StoppedError

FULL = {errno.ENOSPC, errno.EDQUOT}
MEANT = (StoppedError, PeerError, DivergedError)
"""What ends a run on purpose, wherever it is raised."""


@contextlib.contextmanager
def quietly(what: str) -> Iterator[None]:
    """Run the block; if it fails, warn in one line that begins with `what` and go on after it.

    Raises:
      OSError: no space is left: then checkpoints fail too, and the run must end. Found behind a UsageError too.
      StoppedError, PeerError, DivergedError: as they were raised.
    """
    try:
        yield
    except MEANT:
        raise
    except Exception as error:
        if (full := no_space(error)) is not None:
            raise full from None
        warn(f"{what}: {one_line(error)}")


def no_space(error: BaseException | None) -> OSError | None:
    """The OSError of a full disk or quota that is `error` or lies behind it."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL:
            return error
        error = error.__cause__ or error.__context__
    return None


def one_line(error: BaseException) -> str:
    """The kind of an error, with the first line of its text."""
    text = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def warn(text: str) -> None:
    """One line on stderr; none where stderr is gone."""
    with contextlib.suppress(OSError, ValueError):
        print(f"warning: {text}", file=sys.stderr, flush=True)
