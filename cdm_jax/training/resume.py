"""Where does a training run start: at the beginning, or from which checkpoint of which run?"""

import json
from dataclasses import dataclass
from pathlib import Path

from ml_collections import ConfigDict

from cdm_jax import checkpoint
from cdm_jax import config as configs
from cdm_jax.errors import CheckpointError, UsageError

ALTERABLE = (
    "data.store", "data.workers", "data.max_volume_gb", "train.steps", "train.devices", "train.fsdp",
    "train.accumulate", "train.remat", "train.log_every", "train.eval_every", "train.save_every", "train.keep_best",
)  # fmt: skip
"""Keys under which a run may go on with another value: they change nothing in what was done."""

WAYS = ("auto", "never", "must")


@dataclass(frozen=True)
class Start:
    """The run whose checkpoint of `step` training starts from, None for the beginning; `why` in words."""

    run: Path | None
    step: int
    why: str

    def __str__(self) -> str:
        return (
            f"{f'resumed from step {self.step} of {self.run}' if self.run else 'started anew'} ({self.why})"
        )


def refuse_another_run(workdir: Path, config: ConfigDict, resume: str) -> None:
    """Raises: UsageError: the run that stands in `workdir` is another, or `resume` forbids what there is."""
    used = (workdir / "config.json").exists()
    if resume == "must" and not used:
        raise UsageError(f"{workdir}: holds no run to resume")
    if resume == "never" and used:
        raise UsageError(f"{workdir}: holds a run already; choose another folder or --resume=auto")
    if resume not in WAYS:
        source, _ = named(resume)
        if used:
            raise UsageError(f"{workdir}: holds a run already; --resume={resume} needs a new folder")
        refuse_another_config(source, config)
    elif used:
        refuse_another_config(workdir, config)


def refuse_another_config(run: Path, config: ConfigDict) -> None:
    """Raises: UsageError: `run` was begun under another config."""
    before, now = configs.flatten(configs.read(run / "config.json")), configs.flatten(config)
    differing = [key for key in now if now[key] != before[key] and key not in ALTERABLE]
    if differing:
        raise UsageError(f"{run}: holds a run with another {', '.join(differing)}; choose another folder")


def refuse_other_subjects(run: Path, facts: dict[str, list[str]]) -> None:
    """Raises: UsageError: `run` began with other subjects: some it learnt may validate or test now."""
    kept = run / "run.json"
    before = json.loads(kept.read_text()) if kept.exists() else {}
    for split, ids in facts.items():
        if apart := sorted(set(ids) ^ set(before.get(split, ids))):
            raise UsageError(
                f"{run}: the run began with other subjects in '{split}' ({len(apart)} differ, such as {apart[0]}); "
                "start a new one, and keep splits by 'cdm check DATA --write-splits'"
            )


def named(path: str) -> tuple[Path, int | None]:
    """(run, step) of a run's folder (None: its last step) or of one checkpoint, RUN/checkpoints/STEP.

    Raises: UsageError: it is neither.
    """
    found = Path(path)
    if found.parent.name == "checkpoints" and found.name.isdecimal():
        found, step = found.parent.parent, int(found.name)
    else:
        step = None
    if not (found / "config.json").exists():
        raise UsageError(
            f"--resume {path}: give auto, never, must, the folder of a run, or RUN/checkpoints/STEP"
        )
    return found, step


def choose_start(workdir: Path, resume: str) -> Start:
    """Where to start, every file of the chosen checkpoint verified.

    "auto" takes the newest good checkpoint, past damaged ones, "must" and a path the newest or the named one.
    Raises: CheckpointError: it is damaged, or there are checkpoints and none is good.
    """
    if resume not in WAYS:
        run, step = named(resume)
        return _exactly(run, step, f"--resume={resume}")
    there = checkpoint.steps(workdir)
    if not there:
        return Start(None, 0, "no checkpoint there yet")
    if resume == "must":
        return _exactly(workdir, None, "--resume=must")
    step, complaints = checkpoint.last_good(workdir)
    if step is None:
        raise CheckpointError(f"{workdir}: no good checkpoint: {'; '.join(complaints)}")
    skipped = "".join(f"; skipped: {complaint}" for complaint in complaints)
    return Start(workdir, step, f"the newest good one of {len(there)}{skipped}")


def _exactly(run: Path, step: int | None, why: str) -> Start:
    there = checkpoint.steps(run)
    if not there or step not in (None, *there):
        which = "no finished checkpoint" if step is None else f"no finished checkpoint of step {step}"
        raise CheckpointError(f"{run}: holds {which}; there are {there or 'none'}")
    chosen = there[-1] if step is None else step
    checkpoint.verify(run, chosen)
    return Start(run, chosen, why)
