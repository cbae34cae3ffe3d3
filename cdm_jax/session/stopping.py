"""How does a signal end a run, whether or not it has something to save?"""

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

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            return  # the first is being obeyed
        self.signal = number
        if not self._depth:
            if frame is not None and frame.f_code.co_name == "_xla_gc_callback":
                return  # the collector swallows what is raised there: `deferred` will raise it
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
            over = isinstance(handler, Beginning)  # the run has ended: only its last words are left
            signal.signal(number, signal.SIG_IGN if over else handler or signal.SIG_DFL)


class Beginning:
    """The handler of a process that has begun nothing: one line, and the end, without an exception.

    One raised while modules are imported can be swallowed (by a callback of the garbage collector) or taken for
    the module's own failure.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._said = threading.Lock()

    def __call__(self, number: int, _: FrameType | None) -> None:
        if not self._said.acquire(blocking=False):
            return  # another thread is at it
        cause = signal.Signals(number)
        with contextlib.suppress(OSError):
            line = f"{self.name}: stopped by {cause.name}, nothing to save yet; the same command goes on\n"
            os.write(2, line.encode())
        os._exit(EXIT_CODES[cause])


@contextlib.contextmanager
def beginning(name: str) -> Iterator[None]:
    """In here the first signal ends the process at once, until `stop_on_signals` takes over.

    name: who says so. Nothing may be begun in here that must be cleared away. The handlers are put back at exit.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict = {}
    handler = Beginning(name)
    try:
        for number in EXIT_CODES:
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, or a shell's background
                before[number] = signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, EXIT_CODES)  # whoever started this process let them wait
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous or signal.SIG_DFL)


@contextlib.contextmanager
def heard_in_c() -> Iterator[None]:
    """Lets `beginning` obey a signal while the main thread waits in C++, where Python runs no handler.

    A second thread hears of it; the C++ must not keep Python's lock meanwhile.
    """
    if not isinstance(handler := signal.getsignal(signal.SIGTERM), Beginning):
        yield
        return
    ear, mouth = os.pipe()
    os.set_blocking(mouth, False)
    listener = threading.Thread(target=_listen, args=(ear, handler), daemon=True)
    listener.start()
    before = signal.set_wakeup_fd(mouth)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(mouth)
        listener.join()
        os.close(ear)


def _listen(ear: int, handler: Beginning) -> None:
    while numbers := os.read(ear, 1):
        if numbers[0] in set(EXIT_CODES):
            handler(numbers[0], None)
