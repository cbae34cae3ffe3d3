"""How does a signal end a run that has something to save?"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from cdm_jax.errors import StoppedError

EXIT_CODES = {signal.SIGTERM: 75, signal.SIGUSR1: 75, signal.SIGINT: 130}
"""What a run ends with: 75 (try again) where the system asked for its end, 130 where the user did."""


class Stop:
    """`signal` is the first signal that came, None before; see `stop_on_signals`, which makes it."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._depth = 0

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """In here a signal is only noted, so that the step is finished and saved.

        Raises: StoppedError: a signal came before, so that there is nothing to begin.
        """
        self._depth += 1
        try:
            if self.signal is not None and self._depth == 1:
                raise self.error(None)
            yield
        finally:
            self._depth -= 1

    def error(self, saved_step: int | None) -> StoppedError:
        """What ends the run: its exit code, and a message that names the step saved (None: nothing to save)."""
        state = "with nothing left to save" if saved_step is None else f"step {saved_step} is saved"
        if self.signal is None:  # it reached another process of the run
            cause, code = "another process", EXIT_CODES[signal.SIGTERM]
        else:
            cause, code = signal.Signals(self.signal).name, EXIT_CODES[signal.Signals(self.signal)]
        return StoppedError(f"stopped by {cause}, {state}; the same command goes on", code)

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self.signal is not None:
            return  # the first is being obeyed
        self.signal = number
        if not self._depth:
            raise self.error(None)
        line = f"{signal.Signals(number).name}: finishing the step and saving; a moment please\n"
        with contextlib.suppress(OSError):  # the terminal may be gone
            os.write(2, f"\n{line}".encode() if os.isatty(2) else line.encode())  # print must not meet itself


@contextlib.contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Take SIGTERM, SIGUSR1 and SIGINT; yield the `Stop` that knows whether one came.

    Outside `stop.deferred()` the first signal raises StoppedError at once; Python runs handlers between two of
    its own steps, so one that comes while XLA compiles is obeyed after that. All later signals are ignored. Outside
    the main thread, where Python allows no handlers, the `Stop` never hears of any.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before: dict = {}
    try:
        for number in EXIT_CODES:
            before[number] = signal.getsignal(number)
            signal.signal(number, stop._handle)
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
