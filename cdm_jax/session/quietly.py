"""How does a thing that nobody may wait for fail? With one line, while the training goes on."""

import contextlib
import sys
from collections.abc import Iterator

from cdm_jax.errors import DivergedError, PeerError, StoppedError
from cdm_jax.session.failures import is_full, one_line

MEANT = (StoppedError, PeerError, DivergedError)
"""What ends a run on purpose, wherever it is raised."""


@contextlib.contextmanager
def quietly(what: str) -> Iterator[None]:
    """Run the block; if it fails, warn in one line that begins with `what` and go on after it.

    Raises:
      any error behind which a full disk stands: then checkpoints fail too, and the run must end.
      StoppedError, PeerError, DivergedError: as they were raised.
    """
    try:
        yield
    except MEANT:
        raise
    except Exception as error:
        if is_full(error):
            raise
        warn(f"{what}: {one_line(error)}")


def warn(text: str) -> None:
    """One line on stderr; none where stderr is gone."""
    with contextlib.suppress(OSError, ValueError):
        print(f"warning: {text}", file=sys.stderr, flush=True)
