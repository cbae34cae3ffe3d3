"""A training run from prepared volumes to checkpoints."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
from ml_collections import ConfigDict

from cdm_jax import build, checkpoint, methods, provenance
from cdm_jax import config as configs
from cdm_jax.checkpoint.folder import finished
from cdm_jax.data import pipeline
from cdm_jax.data.store import Store
from cdm_jax.errors import CheckpointError, DivergedError, StoppedError, choose
from cdm_jax.files import sweep, write_json, write_text
from cdm_jax.graft import Graft, graft_encoder
from cdm_jax.mesh import meet
from cdm_jax.session import goodput, hosts, profiling, trackers
from cdm_jax.session.lock import locked
from cdm_jax.session.quietly import no_space, one_line
from cdm_jax.session.stopping import Stop, stop_on_signals
from cdm_jax.train_state import TrainState
from cdm_jax.training.keeper import Keeper, loss_in
from cdm_jax.training.loop import Hooks, run_steps
from cdm_jax.training.resume import Start, choose_start, refuse_another_run, refuse_other_subjects
from cdm_jax.training.trainer import Trainer, make_trainer
from cdm_jax.training.validation import make_validation
from cdm_jax.training.watch import AnyWatch, watched


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
    trackers.check(log)
    profiling.steps(profile)
    lock = locked(workdir) if jax.process_index() == 0 else contextlib.nullcontext()
    with stop_on_signals() as stop, lock, hosts.peers_watched(), full_disk_told(workdir):
        began = time.monotonic()
        job, start = prepared(config, workdir, resume)
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


def prepared(config: ConfigDict, workdir: Path, resume: str) -> tuple[Job, Start]:
    """The job of a config, and where it starts; everything that may be refused is refused here."""
    choose(pipeline.SLICES, config.data.slices, "slices")
    refuse_another_run(workdir, config, resume)
    train_store, val_store = stores(config)
    subjects = {"train": train_store.ids, "val": val_store.ids}
    checkpoint.sweep(workdir)
    start = choose_start(workdir, resume)
    refuse_other_subjects(start.run or workdir, subjects)
    trainer = make_trainer(config)
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
    if start.run == workdir and start.step >= config.train.steps:
        print(f"{start}; no step is left", file=sys.stderr)
        return loss_in(facts)
    meet("checked")  # from here on nothing can be refused: what cannot run has left nothing behind
    if jax.process_index() == 0:
        sweep(workdir)
        configs.write(workdir / "config.json", config)
        write_json(workdir / "run.json", provenance.environment() | job.subjects)
        if graft:
            write_text(workdir / "graft.txt", graft.listing())
    clock = goodput.Goodput(workdir / goodput.NAME, start.step, began=began)
    with (
        watched(workdir, config, clock, start.step, log) as watch,
        profiling.profiled(profile, workdir / "profile") as trace,
        outcome(watch),
        checkpoint.writer(workdir) as writer,
        stop.deferred(),
    ):
        watch.event(start.step, str(start))
        if graft:
            watch.event(0, f"{config.encoder.init}: {graft}; the names stand in {workdir}/graft.txt")
        keeper = Keeper(writer, job.validate, watch, clock, facts, config.train.keep_best)
        run_steps(job.trainer, state, start.step, job.store, Hooks(watch, keeper, stop, clock, trace))
        keeper.finish()
    return keeper.val_loss


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


@contextlib.contextmanager
def outcome(watch: AnyWatch) -> Iterator[None]:
    """Tell `watch` how the block ended."""
    try:
        yield
    except StoppedError as error:
        watch.ended("interrupted" if error.exit_code == 130 else "preempted", str(error))
        raise
    except BaseException as error:
        watch.ended("diverged" if isinstance(error, DivergedError) else "failed", one_line(error))
        raise
    watch.ended("finished")


@contextlib.contextmanager
def full_disk_told(workdir: Path) -> Iterator[None]:
    """Raises: CheckpointError: in place of any error that a full disk or quota stands behind."""
    try:
        yield
    except Exception as error:
        if no_space(error) is None:
            raise
        there = finished(workdir)  # of this process alone: the others may be gone
        kept = f"the checkpoint of step {there[-1]} is whole" if there else "nothing was saved yet"
        raise CheckpointError(
            f"{workdir}: no space left; {kept}. Free some, and the same command goes on"
        ) from error
