"""A training run from prepared volumes to checkpoints."""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
from ml_collections import ConfigDict

from cdm_jax import build, checkpoint, methods
from cdm_jax import config as configs
from cdm_jax.checkpoint.agreement import decided_by_first
from cdm_jax.data import pipeline
from cdm_jax.data.store import Store
from cdm_jax.errors import UsageError, choose
from cdm_jax.files import sweep, write_json, write_text
from cdm_jax.graft import Graft, graft_encoder
from cdm_jax.mesh import meet
from cdm_jax.session import goodput, peers, profiling, status, trackers
from cdm_jax.session.stopping import Stop, stop_on_signals
from cdm_jax.train_state import TrainState
from cdm_jax.training.ending import full_disk_told, outcome
from cdm_jax.training.keeper import Keeper, loss_in
from cdm_jax.training.loop import Hooks, run_steps
from cdm_jax.training.resume import (
    FACTS,
    Start,
    changed_settings,
    choose_start,
    refuse_another_run,
    refuse_other_subjects,
    run_facts,
)
from cdm_jax.training.several import held, obey, require_shared, together
from cdm_jax.training.trainer import Trainer, check_numbers, make_trainer
from cdm_jax.training.validation import make_validation
from cdm_jax.training.watch import watched


def train(
    config: ConfigDict,
    workdir: str | Path,
    *,
    resume: str = "auto",
    log: Sequence[str] = (),
    profile: str = "",
) -> float:
    """Train the model of `config` in `workdir`; returns the last validation loss.

    Args:
      resume: "auto" continues a run that stands in `workdir` and else starts one, "never" refuses a used folder,
        "must" refuses an empty one; the folder of another run, or one checkpoint of it, to go on from in a new folder.
      log: trackers, keys of `trackers.TRACKERS`; profile: steps to trace, see `profiling.steps`.
    Raises:
      UsageError: data missing, another trainer at work, or a run that `resume` or the config forbids to touch.
      CheckpointError: the checkpoint to start from is damaged, or a checkpoint cannot be kept.
      DivergedError: a loss, gradient or parameter was not finite; nothing of that step is saved.
      StoppedError: a signal ended the run after its step was saved. PeerError: another process of it is gone.
    """
    workdir = Path(workdir)
    began = time.monotonic()
    with (
        stop_on_signals() as stop,
        peers.peers_watched(),
        together(stop),
        held(workdir),
        full_disk_told(workdir),
    ):
        decided_by_first(lambda: trackers.check(log))
        profiling.steps(profile)
        job, start = prepared(config, workdir, resume, stop)
        return run(job, workdir, start, stop, log=log, profile=profile, began=began)


@dataclass(frozen=True, eq=False)
class Job:
    """What is trained on what: nothing in it depends on where or whether the run was begun.

    Attributes: validate: see `make_validation`; store: the training volumes; subjects: ids by split.
    """

    trainer: Trainer
    validate: Callable[[TrainState], tuple[float, dict]]
    store: Store
    subjects: dict[str, list[str]]


def prepared(config: ConfigDict, workdir: Path, resume: str, stop: Stop) -> tuple[Job, Start]:
    """The job of a config, and where it starts; everything that may be refused is refused here."""
    check_numbers(config)
    choose(pipeline.SLICES, config.data.slices, "slices")
    refuse_another_run(workdir, config, resume)
    train_store, val_store = stores(config)
    obey(stop)
    subjects = {"train": train_store.ids, "val": val_store.ids}
    trainer = make_trainer(config)
    checkpoint.sweep(workdir)
    start = choose_start(workdir, resume)
    refuse_other_subjects(start.run or workdir, subjects)
    return Job(trainer, make_validation(trainer, val_store), train_store, subjects), start


def run(
    job: Job,
    workdir: Path,
    start: Start,
    stop: Stop,
    *,
    log: Sequence[str] = (),
    profile: str = "",
    began: float,
) -> float:
    """Take the steps that are left; arguments, result and errors as of `train`. began: on the monotonic clock."""
    config = job.trainer.config
    state, facts, graft = begin(job.trainer, start)
    if start.step >= config.train.steps:
        return nothing_left(config, workdir, start, facts)
    obey(stop)
    require_shared(workdir)
    # From here on nothing can be refused: what cannot run has left nothing behind.
    changed = changed_settings(start.run, config)
    if jax.process_index() == 0:
        sweep(workdir)
        configs.write(workdir / "config.json", config)
        write_json(workdir / FACTS, run_facts(workdir, start, job.subjects))
        if graft:
            write_text(workdir / "graft.txt", graft.listing())
    clock = goodput.Goodput(workdir / goodput.NAME, start.step, began=began)
    with (
        stop.deferred(),
        watched(workdir, config, clock, start.step, log) as watch,
        profiling.profiled(profile, workdir / "profile") as trace,
        outcome(watch),
        checkpoint.writer(workdir) as writer,
    ):
        watch.event(start.step, f"{start}{changed}")
        if graft:
            watch.event(0, f"{config.encoder.init}: {graft}; the names stand in {workdir}/graft.txt")
        keeper = Keeper(writer, job.validate, watch, clock, facts, config.train.keep_best)
        run_steps(job.trainer, state, start.step, job.store, Hooks(watch, keeper, stop, clock, trace))
        keeper.finish()
    return keeper.val_loss


def nothing_left(config: ConfigDict, workdir: Path, start: Start, facts: dict) -> float:
    """The validation loss of a run that has taken its steps; it may have been killed before it could say so.

    Raises: UsageError: they were taken in another folder.
    """
    if start.run != workdir:
        raise UsageError(f"{start}; no step is left: give more config.train.steps")
    if jax.process_index() == 0:
        if (status.read(workdir) or {}).get("state") != "finished":
            status.write(workdir, "finished", step=start.step, of=config.train.steps)
        print(f"{start}; no step is left", file=sys.stderr)
    return loss_in(facts)


def stores(config: ConfigDict) -> list:
    """Training and validation volumes; process 0 prepares what is missing first, so that no two do the same."""
    if jax.process_index() == 0:
        found = build.stores(config, "train", "val")
    meet("prepared")
    return found if jax.process_index() == 0 else build.stores(config, "train", "val")


def begin(trainer: Trainer, start: Start) -> tuple[TrainState, dict, Graft | None]:
    """The state to start from, what its checkpoint says of it, and what came from `config.encoder.init` if it did.

    Raises: CheckpointError: see `checkpoint.restore` and `graft_encoder`; UsageError: a model without an encoder.
    """
    if start.run is not None:
        trees, facts = checkpoint.restore(start.run, start.step, trainer.abstract.trees)
        return trainer.resumed(trees), facts, None
    if not trainer.config.encoder.init:
        return trainer.init(None), {}, None
    variables = methods.init_variables(trainer.config, trainer.network)
    variables, graft = graft_encoder(variables, trainer.config.encoder.init)
    return trainer.init(variables), {}, graft
