"""Which runs stand below a folder, and how far is each?"""

import json
import math
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from cdm_jax.errors import UsageError
from cdm_jax.session import goodput, lock, status

SIGNS = ("config.json", "run.json", status.NAME, "metrics.jsonl", goodput.NAME)
"""Files whose change shows that a run lives."""


@dataclass
class Run:
    """One training run, as its folder shows it; None where it does not say.

    `state` is one of `status.STATES`, or "killed" (it was running, and its process is gone), "stopped" (it keeps
    no state: of an earlier version) or "damaged" (`reason` says which file). `changed` counts seconds since 1970.
    """

    folder: str
    state: str
    changed: float
    step: int | None = None
    of: int | None = None
    saved: int | None = None
    loss: float | None = None
    val_loss: float | None = None
    val_step: int | None = None
    method: str | None = None
    devices: str | None = None
    goodput: float | None = None
    reason: str = ""


def find(folder: str | Path) -> list[Run]:
    """Every run in or below `folder`, the one that changed last first.

    Raises: UsageError: there is no such folder, or it is a file.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UsageError(f"{folder}: {'is a file; give a folder' if folder.exists() else 'no such folder'}")
    found = []
    for path, inner, files in os.walk(folder):
        if {"config.json", "run.json"} <= set(files):
            inner.clear()  # what stands inside belongs to this run
            found.append(describe(Path(path), str(Path(path).relative_to(folder))))
        else:
            inner[:] = [name for name in inner if not name.startswith(".")]
    return sorted(found, key=lambda run: -run.changed)


def describe(workdir: Path, name: str) -> Run:
    """The run in `workdir`, shown as `name`; what keeps it from being read becomes its reason."""
    run = Run(name, "damaged", _changed(workdir))
    try:
        _read(workdir, run)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        run.state, run.reason = "damaged", str(error)
    return run


def _read(workdir: Path, run: Run) -> None:
    config, facts = (_json(workdir / name) for name in ("config.json", "run.json"))
    sessions = goodput.read(workdir / goodput.NAME)
    records = _records(workdir / "metrics.jsonl")
    try:
        run.method, run.of = config["model"]["objective"], config["train"]["steps"]
        run.devices = ", ".join(f"{count} x {kind}" for kind, count in Counter(facts["devices"]).items())
        losses = [record["loss"] for record in records if "loss" in record]
        validated = [(record["val_loss"], record["step"]) for record in records if "val_loss" in record]
        steps = [int(record["step"]) for record in records] + [session["last"] for session in sessions[-1:]]
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"config.json, run.json or metrics.jsonl: {error} is missing or odd") from error
    run.loss = _finite(losses[-1]) if losses else None
    finite = [(loss, step) for loss, step in validated if math.isfinite(loss)]
    run.val_loss, run.val_step = min(finite, default=(None, None))
    run.saved = max(_saved(workdir), default=None)
    run.goodput = _finite(goodput.share(sessions))
    _judge(workdir, run, max(steps, default=0))


def _judge(workdir: Path, run: Run, step: int) -> None:
    """Fill in state, step, steps wanted and reason; `step` is the last one that left a number."""
    held = lock.holder(workdir)
    told = status.read(workdir)
    if told is None:
        if (workdir / status.NAME).exists():
            raise ValueError(f"{status.NAME}: damaged")
        done = run.of is not None and step >= run.of
        run.step, run.state = step, "running" if held else "finished" if done else "stopped"
        return
    run.step, run.of, run.reason = max(step, told["step"]), told["of"], told["reason"]
    run.state = "running" if held else told["state"]
    if told["state"] == "running" and not held:
        run.state = "killed"


def _json(path: Path) -> dict:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")).items())
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{path.name}: damaged") from error


def _records(path: Path) -> list[dict]:
    """The records of a file that may be written to just now: a last line without its end is not one yet."""
    if not path.exists():
        return []
    *lines, _ = path.read_text(encoding="utf-8").split("\n")
    try:
        return [json.loads(line) for line in lines]
    except ValueError as error:
        raise ValueError(f"{path.name}: damaged") from error


def _saved(workdir: Path) -> list[int]:
    """Steps of finished checkpoints. The folder tells, as `checkpoint.steps` does, but without a wait for jax."""
    found = [path.parent.name for path in workdir.glob("checkpoints/*/record.json")]
    return [int(name) for name in found if name.isdigit()]


def _changed(workdir: Path) -> float:
    return max((path.stat().st_mtime for name in SIGNS if (path := workdir / name).exists()), default=0.0)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
