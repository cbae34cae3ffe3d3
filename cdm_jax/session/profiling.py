"""What do device and host do in a few chosen steps? A `jax.profiler` trace answers."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import jax

from cdm_jax.errors import UsageError
from cdm_jax.session.quietly import quietly

WARM = 2
"""Steps of a session that are not traced when only a number is asked for: the first compiles."""


def steps(spec: str) -> tuple[int | None, int] | None:
    """(first step, steps) of "10" (first: None, the third of the session) or "100:110" (110 not included).

    Returns: None for "". Raises: UsageError: any other text.
    """
    if not spec:
        return None
    first, colon, last = spec.partition(":")
    try:
        found = (int(first), int(last) - int(first)) if colon else (None, int(first))
        if found[1] > 0 and (found[0] is None or found[0] > 0):
            return found
    except ValueError:
        pass
    raise UsageError(f"--profile {spec}: give a number of steps, such as 10, or FIRST:LAST, such as 100:110")


@contextlib.contextmanager
def profiled(spec: str, folder: str | Path) -> Iterator["Profile"]:
    """Yield a Profile whose `at(step)` is called before each step; a trace still open at the end is closed.

    A line on stderr says where none of the steps was taken.
    Raises: UsageError: a `spec` that `steps` refuses.
    """
    profile = Profile(steps(spec), Path(folder))
    try:
        yield profile
    finally:
        profile.stop()
        if profile.wanted is not None:
            print(
                f"warning: --profile {spec}: no step was traced, as this session took none of them",
                file=sys.stderr,
            )


class Profile:
    """A trace of the steps `wanted` (see `steps`) in `folder`; one that fails is a warning."""

    def __init__(self, wanted: tuple[int | None, int] | None, folder: Path):
        self.wanted, self.folder = wanted, folder
        self.span: range | None = None  # of steps, known at the session's first one
        self.tracing = False

    def at(self, step: int) -> None:
        """Start or stop the trace, where the next step to be taken is `step`."""
        if self.wanted is None:
            return
        if self.span is None:
            first, count = self.wanted
            first = step + WARM if first is None else first
            self.span = range(first, first + count)
        if self.tracing != (step in self.span):
            # Steps run behind the host: all that were sent before belong to the side they were sent on.
            jax.block_until_ready(jax.live_arrays())
            self.stop() if self.tracing else self._start()

    def _start(self) -> None:
        with quietly(f"profile in {self.folder}"):
            jax.profiler.start_trace(self.folder)
            self.tracing = True
        if not self.tracing:
            self.wanted = None  # no second try

    def stop(self) -> None:
        """Close the trace, if one is open."""
        if self.tracing:
            self.tracing, self.wanted = False, None
            with quietly(f"profile in {self.folder}"):
                jax.profiler.stop_trace()
                print(f"profile: {self.folder}; TensorBoard shows it", file=sys.stderr)
