"""What became of a run: `status.json` in its folder."""

import datetime
import json
from pathlib import Path

from cdm_jax.errors import choose
from cdm_jax.files import write_json

NAME = "status.json"

STATES = {
    "running": "steps are being taken, or the process was killed",
    "finished": "all steps are done",
    "preempted": "the system asked it to stop; the same command goes on",
    "interrupted": "a person stopped it; the same command goes on",
    "diverged": "a number was not finite",
    "failed": "an error ended it",
}
"""{state: what it means}."""


def write(workdir: str | Path, state: str, *, step: int, of: int, reason: str = "") -> None:
    """Say in `workdir/status.json` that the run is in `state` at `step` of the `of` steps wanted, atomically.

    Raises: UsageError: an unknown state, or the file cannot be written.
    """
    choose(STATES, state, "state")
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    found = {"state": state, "step": int(step), "of": int(of), "time": now, "reason": reason}
    write_json(Path(workdir) / NAME, found)


def read(workdir: str | Path) -> dict | None:
    """{"state", "step", "of", "time" (UTC, ISO 8601), "reason"}; None if the file is missing or damaged."""
    try:
        found = json.loads((Path(workdir) / NAME).read_text(encoding="utf-8"))
        steps = int(found["step"]), int(found["of"])
        texts = str(found["time"]), str(found["reason"])
        keys = dict(zip(("step", "of", "time", "reason"), (*steps, *texts), strict=True))
        return {"state": found["state"]} | keys if found["state"] in STATES else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
