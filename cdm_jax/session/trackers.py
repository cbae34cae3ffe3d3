"""Who else watches a run? TensorBoard and Weights & Biases, each a process of its own that nothing waits for.

In the training's own process such a library could hold up its end (one waits for the network in an exit handler),
catch its signals or write between its lines. A pipe leads to each; what the kernel holds of it, 64 KiB, is the
queue, and a write that finds no room is dropped.
"""

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cdm_jax.errors import UsageError, choose
from cdm_jax.session.quietly import quietly, warn
from cdm_jax.session.tracker import TRACKERS

PATIENCE = 5.0
"""Seconds that the end of a run waits for its trackers, all together."""


def check(names: Sequence[str]) -> None:
    """Raises: UsageError: a name of none of the `TRACKERS`, or of one whose package is missing."""
    for name in names:
        package, _ = choose(TRACKERS, name, "tracker")
        if importlib.util.find_spec(package) is None:
            raise UsageError(f"--log {name} needs {package}: pip install 'cdm_jax[log]'")


@contextlib.contextmanager
def trackers(
    names: Sequence[str], workdir: str | Path, config: dict, resume_step: int = 0
) -> Iterator["Trackers"]:
    """Yield what hands numbers to the trackers `names`; at the end they have `PATIENCE` seconds to write them.

    A tracker that fails is one warning, then off; one that hangs loses records. Training never waits for either.

    Args:
      config: nested dict as JSON holds it, shown beside the run where the tracker can.
      resume_step: steps done before.
    Raises:
      UsageError: see `check`.
    """
    check(names)
    start = {"workdir": str(Path(workdir).absolute()), "config": config, "resume_step": int(resume_step)}
    running = Trackers()
    try:
        for name in dict.fromkeys(names):
            with quietly(f"{name} is off"):
                running.pipes.append(_Pipe(name, start))
        yield running
    finally:
        running.close()


class Trackers:
    """Some trackers as one."""

    def __init__(self) -> None:
        self.pipes: list[_Pipe] = []

    def log(self, step: int, numbers: dict[str, float]) -> None:
        """Hand over the numbers of a step, which may not lie before the last one's; returns at once."""
        for pipe in self.pipes:
            with quietly(pipe.name):
                pipe.send([int(step), {name: float(value) for name, value in numbers.items()}])

    def close(self) -> None:
        """Let every tracker finish, for `PATIENCE` seconds in all."""
        until = time.monotonic() + PATIENCE
        for pipe in self.pipes:
            pipe.end()
        for pipe in self.pipes:
            pipe.wait(max(0.0, until - time.monotonic()))


class _Pipe:
    """The process of one tracker, and the way to it."""

    def __init__(self, name: str, start: dict):
        self.name, self.off, self.behind = name, False, False
        self.process: Any = subprocess.Popen(
            [sys.executable, "-P", "-m", "cdm_jax.session.tracker", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # with what it starts itself; and Ctrl-C does not reach it
        )
        assert self.process.stdin is not None
        self.way = self.process.stdin.fileno()
        os.set_blocking(self.way, False)
        self.send(start)

    def send(self, record: object) -> None:
        """Write a line, whole or not at all."""
        if self.off:
            return
        line = json.dumps(record).encode() + b"\n"
        try:
            if os.write(self.way, line) < len(line):
                self._stop("its records do not fit into the pipe")
        except BlockingIOError:
            if not self.behind:
                self.behind = True
                warn(f"{self.name} does not keep up: it loses records")
        except BrokenPipeError:
            self._stop(self._reason())

    def end(self) -> None:
        """Tell the process that nothing more comes."""
        with contextlib.suppress(OSError):
            self.process.stdin.close()

    def wait(self, seconds: float) -> None:
        """Until the process has ended, but no longer than `seconds`."""
        try:
            if self.process.wait(seconds) != 0 and not self.off:
                self._stop(self._reason())
        except subprocess.TimeoutExpired:
            self._stop("it does not answer; its last records may be missing")
        self.process.stdout.close()

    def _reason(self) -> str:
        """What the process, which has closed its input or ended, said of it."""
        try:
            self.process.wait(1.0)
            return self.process.stdout.read().decode(errors="replace").strip() or "it ended"
        except subprocess.TimeoutExpired:
            return "it takes no records"

    def _stop(self, reason: str) -> None:
        self.off = True
        with contextlib.suppress(OSError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        warn(f"{self.name} is off: {reason}")
