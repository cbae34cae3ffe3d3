"""Where the time of a run went, over all its sessions.

A session is one process, from `Goodput(...)` to its end. Each of its seconds belongs to exactly one kind, so that
the kinds add up to the session's wall time; the time between two sessions belongs to none.
"""

import contextlib
import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from cdm_jax.errors import choose
from cdm_jax.session.quietly import quietly, warn

NAME = "goodput.json"

KINDS = {
    "productive": "training steps",
    "compile": "compilation",
    "input": "waiting for data",
    "checkpoint": "waiting for checkpoints",
    "validation": "validation",
    "report": "logs and reports",
    "setup": "set-up",
}
"""{kind: what it reads as}."""

PARTS = KINDS | {"lost": "lost to restarts"}
"""The kinds, and what `summary` takes from them."""


class Goodput:
    """The clock of one session, which goes on from the sessions that stand in `path`.

    Time counts as "setup" until another kind is named: `with goodput.spend("productive")` around the loop, and
    inside it `with goodput.spend("checkpoint")` and the like, which take their time from what stands around them.
    For one thread. JAX runs ahead of the host: the wait for a step counts where its result is first asked for.

    Args:
      path: the file of all sessions; a damaged one is begun anew, with a warning.
      step: steps done before this session.
      clock: seconds, from anywhere; began: when on it the session began, if that was before now.
    """

    def __init__(
        self,
        path: str | Path,
        step: int,
        clock: Callable[[], float] = time.monotonic,
        began: float | None = None,
    ):
        self.path, self.clock = Path(path), clock
        self.before = read(self.path)
        self.began, self.first, self.last = time.time(), int(step), int(step)
        self.seconds: dict[str, float] = {}
        self.kind, self.since = "setup", clock() if began is None else began

    @contextlib.contextmanager
    def spend(self, kind: str) -> Iterator[None]:
        """Count the block's time as `kind`, a key of `KINDS`; a block inside it counts as its own kind alone."""
        choose(KINDS, kind, "kind of time")
        around = self.kind
        self._turn(kind)
        try:
            yield
        finally:
            self._turn(around)

    def _turn(self, kind: str) -> None:
        now = self.clock()
        self.seconds[self.kind] = self.seconds.get(self.kind, 0.0) + now - self.since
        self.kind, self.since = kind, now

    def reached(self, step: int) -> None:
        """Steps up to `step` are done."""
        self.last = int(step)

    def sessions(self) -> list[dict]:
        """All sessions, with this one as it stands now."""
        self._turn(self.kind)
        facts = {"began": self.began, "first": self.first, "last": self.last}
        return [*self.before, facts | {"seconds": dict(self.seconds)}]

    def write(self) -> None:
        """Keep the sessions in the file, atomically and without waiting for the disk; a failure is a warning.

        Raises: OSError: no space is left on the disk.
        """
        with quietly(str(self.path)):
            temporary = self.path.with_name(
                f".tmp-{self.path.name}"
            )  # one name: a kill leaves no more than one
            temporary.write_text(json.dumps(self.sessions()), encoding="utf-8")
            temporary.replace(self.path)


def read(path: str | Path) -> list[dict]:
    """The sessions of a file, oldest first; none, with a warning, if it is damaged."""
    path = Path(path)
    try:
        return [_checked(session) for session in json.loads(path.read_text(encoding="utf-8"))]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        warn(f"{path}: damaged, so the time of earlier sessions is not known ({error})")
        return []


def _checked(session: dict) -> dict:
    seconds = {kind: float(session["seconds"][kind]) for kind in KINDS if kind in session["seconds"]}
    began, first, last = float(session["began"]), int(session["first"]), int(session["last"])
    if not all(math.isfinite(value) and value >= 0 for value in (began, *seconds.values())):
        raise ValueError("a time is not a positive number")
    return {"began": began, "first": first, "last": last, "seconds": seconds}


def parts(sessions: list[dict]) -> list[dict[str, float]]:
    """For each session its seconds by `PARTS`, which add up to its wall time.

    Lost is, of each session:
    - the productive seconds of steps that a later session did again: their share of the session's steps (all of
      them where it reached no step, and there is a later session);
    - set-up and compilation, but for those of the first session, which every run needs once.
    """
    found: list[dict[str, float]] = []
    again = math.inf  # the earliest step that a later session began at
    for session in reversed(sessions):
        split = dict.fromkeys(PARTS, 0.0) | session["seconds"]
        moved = {"productive": _done_again(session["first"], session["last"], again)}
        if session is not sessions[0]:
            moved |= {"setup": 1.0, "compile": 1.0}
        for kind, share in moved.items():
            lost = share * split[kind]
            split[kind] -= lost
            split["lost"] += lost
        found.append(split)
        again = min(again, session["first"])
    return found[::-1]


def _done_again(first: int, last: int, again: float) -> float:
    """The share of the steps (first, last] that lie past step `again`; of no steps: all, if they were tried again."""
    if last <= first:
        return float(again < math.inf)
    return (last - min(last, max(first, again))) / (last - first)


def summary(sessions: list[dict]) -> dict[str, float]:
    """Seconds of all sessions by `PARTS`; they add up to the wall time of the sessions. See `parts`."""
    return {part: math.fsum(split[part] for split in parts(sessions)) for part in PARTS}


def share(sessions: list[dict]) -> float:
    """The productive share of all time, in [0, 1]; NaN before any time has passed."""
    found = summary(sessions)
    total = math.fsum(found.values())
    return found["productive"] / total if total > 0 else math.nan
