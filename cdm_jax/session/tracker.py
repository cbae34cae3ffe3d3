"""How does one tracker of a run work, as a process of its own (`python -m cdm_jax.session.tracker NAME`)?

The first line says {"workdir", "config", "resume_step"}, every other one [step, {name: number}]. The process ends
with its input, so a killed training leaves none behind; the numbers that arrived before are still written. What it
prints is the reason of a failure, in one line, and nothing else.
"""

import contextlib
import json
import os
import signal
import sys
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from cdm_jax.files import write_text
from cdm_jax.session.failures import one_line

LAST = 60.0
"""Seconds after the end of its input in which a tracker that nobody waits for may still write."""


class Tracker(Protocol):
    """Where numbers go. It may raise, or hang."""

    def log(self, step: int, numbers: dict[str, float]) -> None: ...

    def close(self) -> None: ...


class TensorBoard:
    """Event files in `workdir/tensorboard`; what an earlier session logged past the resumed step is hidden."""

    def __init__(self, workdir: Path, config: dict, resume_step: int):
        from tensorboardX import SummaryWriter

        folder = str(workdir / "tensorboard")
        self.writer = SummaryWriter(folder, purge_step=resume_step + 1, flush_secs=10)

    def log(self, step: int, numbers: dict[str, float]) -> None:
        for name, value in numbers.items():
            self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        self.writer.close()


class Wandb:
    """A run of the project cdm_jax, the same one after every restart: its id stands in `workdir/wandb_id.txt`."""

    def __init__(self, workdir: Path, config: dict, resume_step: int):
        import wandb

        kept = workdir / "wandb_id.txt"
        if not kept.exists():
            write_text(kept, uuid.uuid4().hex[:8])
        online = wandb.setup().settings.mode == "online"
        if online and not wandb.login(prompt=False, verify=False):  # it may not ask: nobody sits there
            raise RuntimeError("no API key; run 'wandb login', or set WANDB_MODE=offline")
        self.run = wandb.init(
            project="cdm_jax",
            name=workdir.resolve().name,
            id=kept.read_text().strip(),
            resume="allow" if online else None,
            dir=str(workdir),
            config=config,
            settings=wandb.Settings(console="off", silent=True, disable_git=True, disable_code=True),
        )

    def log(self, step: int, numbers: dict[str, float]) -> None:
        self.run.log(numbers, step=step)  # a step that stands there already is left as it is

    def close(self) -> None:
        self.run.finish()


TRACKERS: dict[str, tuple[str, Callable[[Path, dict, int], Tracker]]] = {
    "tensorboard": ("tensorboardX", TensorBoard),
    "wandb": ("wandb", Wandb),
}
"""{name: (the package it needs, how it starts)}."""


def main(name: str) -> int:
    """Hand the lines of the standard input to the tracker `name`; returns 1, with the reason, if it fails."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)  # meant for the training, which ends this by ending its input
    with _silenced() as out:
        try:
            start = json.loads(sys.stdin.readline())
            tracker = TRACKERS[name][1](Path(start["workdir"]), start["config"], start["resume_step"])
            for line in sys.stdin:
                tracker.log(*json.loads(line))
            _end_within(LAST)
            tracker.close()
        except BaseException as error:
            print(one_line(error), file=out, flush=True)
            return 1
    return 0


@contextlib.contextmanager
def _silenced():
    """Yield the standard output, to which nobody else can write meanwhile."""
    with os.fdopen(os.dup(1), "w") as out, open(os.devnull, "w") as nowhere:  # noqa: PTH123
        os.dup2(nowhere.fileno(), 1)
        yield out


def _end_within(seconds: float) -> None:
    timer = threading.Timer(seconds, os._exit, (1,))
    timer.daemon = True
    timer.start()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
