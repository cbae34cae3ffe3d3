"""Where does a training run start: at the beginning, or from which checkpoint of which run?"""

import json
from dataclasses import dataclass
from pathlib import Path

from ml_collections import ConfigDict

from cdm_jax import checkpoint, provenance
from cdm_jax import config as configs
from cdm_jax.errors import CheckpointError, UsageError
from cdm_jax.session.failures import first_line

ALTERABLE = (
    "data.root", "data.store", "data.workers", "data.max_volume_gb", "train.steps", "train.devices", "train.fsdp",
    "train.accumulate", "train.remat", "train.log_every", "train.eval_every", "train.save_every", "train.keep_best",
    "sampler.", "anomaly.",
)  # fmt: skip
"""Beginnings of keys under which a run may go on with another value: they change nothing in what was done."""

FACTS = "run.json"
"""Who was trained on, by which versions, on which machine, in every session; and the run it goes on from, if any."""

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
    """Raises: UsageError: the run that stands in `workdir` is another, or `resume` forbids what there is.

    CheckpointError: what stands there has lost its config.
    """
    used = is_used(workdir)
    if resume == "must" and not used:
        raise UsageError(f"{workdir}: holds no run to resume")
    if resume == "never" and used:
        raise UsageError(f"{workdir}: holds a run already; choose another folder or --resume=auto")
    if resume not in WAYS:
        source, _ = named(resume)
        if used and read_facts(workdir).get("from") != str(Path(resume).absolute()):
            raise UsageError(f"{workdir}: holds a run already; --resume={resume} needs a new folder")
        refuse_another_config(source, config)
    if used:
        refuse_another_config(workdir, config)


def is_used(workdir: Path) -> bool:
    """Whether a run was begun in `workdir`, or something of one is left there."""
    return any((workdir / name).exists() for name in ("config.json", FACTS)) or any(
        workdir.glob("checkpoints/[0-9]*")
    )


def refuse_another_config(run: Path, config: ConfigDict) -> None:
    """Raises: UsageError: `run` was begun under another config."""
    differing = [key for key in other_settings(run, config) if not key.startswith(ALTERABLE)]
    if differing:
        raise UsageError(f"{run}: holds a run with another {', '.join(differing)}; choose another folder")


def other_settings(run: Path, config: ConfigDict) -> dict[str, tuple]:
    """{key: (value in `run`, value now)} of all that differ."""
    before, now = configs.flatten(configs.read(run / "config.json")), configs.flatten(config)
    return {key: (before[key], now[key]) for key in now if now[key] != before[key]}


def changed_settings(run: Path | None, config: ConfigDict) -> str:
    """What a run goes on with otherwise than before, in words; "" where it is nothing."""
    changed = other_settings(run, config) if run else {}
    words = [f"{key} {before} -> {now}" for key, (before, now) in changed.items()]
    if "train.steps" in changed and config.train.cosine:
        words.append("the learning rate follows the new number of steps")
    return f"; changed: {', '.join(words)}" if words else ""


def read_facts(run: Path) -> dict:
    """What `run_facts` gave; {} where there is none. Raises: CheckpointError: the file is damaged."""
    path = run / FACTS
    try:
        facts = json.loads(path.read_text()) if path.exists() else {}
        return dict(facts)
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: damaged ({first_line(error)}); bring it back from a copy") from error


def run_facts(workdir: Path, start: Start, subjects: dict[str, list[str]]) -> dict:
    """This session's environment and subjects, the environments of all, and the run that it went on from."""
    before, now = read_facts(workdir), provenance.environment()
    source = start.why.removeprefix("--resume=") if start.run not in (None, workdir) else None
    where = (
        {"from": str(Path(source).absolute())} if source else {k: before[k] for k in ("from",) if k in before}
    )
    return now | subjects | where | {"sessions": [*before.get("sessions", []), now]}


def refuse_other_subjects(run: Path, facts: dict[str, list[str]]) -> None:
    """Raises: UsageError: `run` began with other subjects: some it learnt may validate or test now."""
    before = read_facts(run)
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
    if resume == "must":
        return _exactly(workdir, None, "--resume=must")
    there = checkpoint.steps(workdir)
    if resume not in WAYS and not there:
        run, step = named(resume)
        return _exactly(run, step, f"--resume={resume}")
    if not there:
        return Start(None, 0, "no checkpoint there yet")
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
