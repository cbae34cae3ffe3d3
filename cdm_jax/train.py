"""A training run from prepared volumes to checkpoints."""

import json
import math
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from cdm_jax import build, checkpoint, methods, metric_log, provenance
from cdm_jax import config as configs
from cdm_jax.data import pipeline
from cdm_jax.data.store import Store
from cdm_jax.data.to_device import to_device
from cdm_jax.errors import DivergedError, UsageError, choose
from cdm_jax.files import write_json, write_text
from cdm_jax.graft import Graft, graft_encoder
from cdm_jax.progress import Progress
from cdm_jax.report.progress import draw_progress, draw_rows
from cdm_jax.train_state import TrainState, init_state, make_train_step
from cdm_jax.validation import make_validation

ALTERABLE = {"train.steps", "data.store", "data.workers", "data.max_volume_gb"}
"""Keys under which a run may go on with another value: they change nothing in what was done."""


def train(config: ConfigDict, workdir: str | Path, *, resume: str = "auto") -> float:
    """Train the model of `config` in `workdir`; returns the last validation loss.

    Args:
      resume: "auto" continues a run that stands in `workdir` and else starts one, "never" refuses a used
        folder, "must" refuses an empty one.
    Raises:
      UsageError: data missing, or `workdir` holds a run that `resume` or its config forbids to touch.
      DivergedError: the loss became NaN or infinite; nothing of that step is saved.
    """
    workdir = Path(workdir)
    refuse_another_run(workdir, config, resume)
    train_store, val_store = build.stores(config, "train", "val")
    facts = {"train": train_store.ids, "val": val_store.ids}
    refuse_other_subjects(workdir, facts)
    network, optimizer = methods.model(config), build.optimizer(config)
    objective = methods.objective(config, network)
    step_once = jax.jit(make_train_step(objective, optimizer, config.train.ema), donate_argnums=0)
    validate = make_validation(config, network, objective, val_store)
    variables, graft = start(config, network, objective, workdir)

    # From here on nothing in the config can be refused: what cannot run leaves nothing behind.
    configs.write(workdir / "config.json", config)
    write_json(workdir / "run.json", provenance.environment() | facts)
    if graft:
        write_text(workdir / "graft.txt", graft.listing())
        print(f"{config.encoder.init}: {graft}; the names stand in {workdir}/graft.txt", file=sys.stderr)

    with checkpoint.manager(workdir) as checkpoints:
        state = init_state(variables, optimizer)
        if checkpoints.latest_step() is not None:
            state = checkpoint.restore(checkpoints, state)

        log = workdir / "metrics.jsonl"
        metric_log.rewind(log, int(state.step))

        def keep(state: TrainState, records: list[dict]) -> None:
            val_loss, pictures = validate(state)
            metric_log.append(log, *records, {"step": int(state.step), "val_loss": val_loss})
            checkpoint.save(checkpoints, state, val_loss)
            write_text(workdir / "metrics.csv", metric_log.to_csv(metric_log.read(log)))
            draw_progress(workdir / "progress.png", metric_log.read(log), pictures.pop("progress"))
            for name, rows in pictures.items():
                draw_rows(workdir / f"{name}.png", rows)

        run_steps(config, state, step_once, train_store, keep)
    return [record["val_loss"] for record in metric_log.read(log) if "val_loss" in record][-1]


def refuse_another_run(workdir: Path, config: ConfigDict, resume: str) -> None:
    """Raises: UsageError: the run that stands in `workdir` is another, or `resume` forbids what there is."""
    kept = workdir / "config.json"
    used = kept.exists()
    if resume == "must" and not used:
        raise UsageError(f"{workdir}: holds no run to resume")
    if resume == "never" and used:
        raise UsageError(f"{workdir}: holds a run already; choose another folder or --resume=auto")
    if used:
        before, now = configs.flatten(configs.read(kept)), configs.flatten(config)
        differing = [key for key in now if now[key] != before[key] and key not in ALTERABLE]
        if differing:
            raise UsageError(
                f"{workdir}: holds a run with another {', '.join(differing)}; choose another folder"
            )


def refuse_other_subjects(workdir: Path, facts: dict[str, list[str]]) -> None:
    """Raises: UsageError: the run in `workdir` began with other subjects: some it learnt may validate or test now."""
    kept = workdir / "run.json"
    before = json.loads(kept.read_text()) if kept.exists() else {}
    for split, ids in facts.items():
        if apart := sorted(set(ids) ^ set(before.get(split, ids))):
            raise UsageError(
                f"{workdir}: the run began with other subjects in '{split}' ({len(apart)} differ, such as {apart[0]}); "
                "start a new one, and keep splits by 'cdm check DATA --write-splits'"
            )


def start(config: ConfigDict, network, objective, workdir: Path) -> tuple[dict, Graft | None]:
    """The variables a run starts from, with the encoder of `config.encoder.init` if it names one.

    Raises: UsageError: settings that the network or the objective refuses; CheckpointError: see `graft_encoder`.
    """
    choose(pipeline.SLICES, config.data.slices, "slices")
    variables = methods.init_variables(config, network)
    height, width, _ = config.preprocess.shape
    batch = {
        "image": jax.ShapeDtypeStruct((config.train.batch, height, width, 1), jnp.float32),
        "mask": jax.ShapeDtypeStruct((config.train.batch, height, width, 1), bool),
        "id": jax.ShapeDtypeStruct((config.train.batch,), jnp.int32),
    }
    jax.eval_shape(objective, *variables.values(), batch, jax.random.key(0))
    begun = any((workdir / "checkpoints").glob("[0-9]*"))
    return (
        (variables, None)
        if begun or not config.encoder.init
        else graft_encoder(variables, config.encoder.init)
    )


def run_steps(
    config: ConfigDict, state: TrainState, step_once: Callable, store: Store, keep: Callable
) -> None:
    """Take the steps that are left; `keep(state, records)` validates, logs and saves along the way."""
    settings, first = config.train, int(state.step)
    data = pipeline.batches(
        store,
        start_step=first,
        seed=config.seed,
        batch=settings.batch,
        slices=config.data.slices,
        brain_only=config.data.brain_only,
    )
    key = jax.random.fold_in(jax.random.key(config.seed), 1)
    records, began, note = [], time.monotonic(), ""
    steps = range(first + 1, settings.steps + 1)
    with closing(data), Progress(settings.steps, "train", "step", start=first) as progress:
        for step, batch in zip(steps, to_device(map(inputs, data)), strict=False):  # data have no end
            state, metrics = step_once(state, batch, key)
            if step % settings.log_every == 0 or step == settings.steps:
                loss = finite(metrics["loss"], step)
                rate = settings.batch * (step - first) / (time.monotonic() - began)
                grad_norm = float(metrics["grad_norm"])
                records.append(
                    {"step": step, "loss": loss, "grad_norm": grad_norm, "slices_per_second": rate}
                )
                note = f"loss {loss:.4f}"
            if step % settings.eval_every == 0 or step == settings.steps:
                finite(metrics["loss"], step)
                keep(state, records)
                records = []
            progress.advance(note)


def inputs(batch: dict) -> dict:
    """What a training step takes of a batch."""
    return {name: batch[name] for name in ("image", "mask", "id")}


def finite(loss: jax.Array, step: int) -> float:
    """The loss as a float, or DivergedError."""
    if not math.isfinite(value := float(loss)):
        raise DivergedError(
            f"the loss is {value} at step {step}: lower config.train.lr or set config.train.clip"
        )
    return value
