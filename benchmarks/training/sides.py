"""How does each side train the model?"""

import itertools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from cdm_jax.data.to_device import to_device
from cdm_jax.dry_run import program_bytes
from cdm_jax.mesh import place_batch
from cdm_jax.training.trainer import Trainer, make_trainer
from training.cells import Cell
from training.clock import Side
from training.feed import Batch


class Ours(NamedTuple):
    """Our side, how long its step took to compile, and the bytes that the program holds on one device."""

    side: Side
    compile_s: float
    program: dict[str, int]


def ours(cell: Cell, variables: dict, batches: list[Batch], *, check: bool = True) -> Ours:
    """Our training from these variables; t and noise, where both sides share them, wait on the devices."""
    trainer = make_trainer(cell.config, check=check)
    handed_in = cell.about["work"] == "same"
    drawn = [place_batch(trainer.mesh, batch.drawn) if handed_in else {} for batch in batches]
    state, place = trainer.init(variables), place_with(trainer, batches, drawn)
    began = time.perf_counter()
    program = trainer.step.lower(state, place(0)).compile()
    seconds = time.perf_counter() - began

    def step(batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
        nonlocal state
        state, metrics = program(state, batch)
        return metrics

    def read(metrics: dict[str, jax.Array]) -> dict[str, float]:
        return {name: float(metrics[name]) for name in ("loss", "grad_norm")}

    feed = to_device(itertools.cycle(range(len(batches))), place)
    ahead = 0 if cell.devices[0].platform == "cpu" else 1
    return Ours(Side(feed, step, jax.block_until_ready, read, ahead), seconds, program_bytes(program))


def place_with(
    trainer: Trainer, batches: list[Batch], drawn: list[dict]
) -> Callable[[int], dict[str, jax.Array]]:
    """place(i): the i-th batch on its way to the devices, beside what is there already."""
    return lambda i: trainer.place(batches[i].given) | drawn[i]


def theirs(cell: Cell, variables: dict, batches: list[Batch]) -> Side:
    """The torch reference's training: same weights, batches, t and noise; on cuda if there is one."""
    import torch

    from training import torch_side

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()  # each row tells its own
    model = torch_side.load_model(cell.config, variables, device)
    step = torch_side.make_step(cell.config, model, compiled=cell.about["torch"] == "compile")
    images = [torch_side.tensors({"image": batch.given["image"]}, device) for batch in batches]
    drawn = [torch_side.on_device(batch.drawn, device) for batch in batches]

    def place(i: int) -> dict[str, Any]:
        return {name: tensor.to(device, non_blocking=True) for name, tensor in images[i].items()} | drawn[i]

    def read(handle: tuple) -> dict[str, float]:
        return {"loss": float(handle[0]), "grad_norm": torch_side.grad_norm(model)}

    feed = to_device(itertools.cycle(range(len(batches))), place)
    if device.type == "cpu":
        return Side(feed, lambda batch: (step(batch),), lambda handle: None, read)

    def queue(batch) -> tuple:
        loss, done = step(batch), torch.cuda.Event()
        done.record()
        return loss, done

    return Side(feed, queue, lambda handle: handle[1].synchronize(), read, ahead=1)
