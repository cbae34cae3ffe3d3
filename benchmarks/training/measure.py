"""What does one cell's row hold?"""

import math
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from speed.machine import peak_memory

from training.cells import Cell
from training.clock import Side, Steps, all_seconds, ratio, take_turns
from training.feed import Batch
from training.sides import ours, theirs

PERCENTILES = (10, 50, 90, 99)

TOLERANCE = {"float32": (1e-4, 1e-2), "tf32": (1e-2, 1e-1), "bfloat16": (2e-2, 2e-1)}
"""Relative difference allowed in the first step's loss and in the norm of its gradients.

The loss is a mean over all pixels, in which roundings cancel. Gradients pass the encoder's BatchNorm, which divides
by the spread of few numbers where the images have become small.
"""


def measure(
    cell: Cell,
    variables: dict,
    batches: list[Batch],
    flops: float,
    peak: float,
    rounds: int,
    steps: int,
    *,
    check: bool = False,
) -> dict[str, Any]:
    """The row of a cell: differences of the first step, step times, rates, memory.

    All sides take a first step, which compiles torch's, and a second to settle; then they take turns.

    Args:
      flops: of one step; peak: FLOP/s of a matrix product in the cell's dtype on one device.
      check: let ours take turns with itself without the look for numbers that are not finite.
    """
    mine = ours(cell, variables, batches)
    sides = {"ours": mine.side}
    if check:
        sides["unchecked"] = ours(cell, variables, batches, check=False).side
    if cell.about["torch"] != "off":
        sides["torch"] = theirs(cell, variables, batches)
    first = {name: first_step(side) for name, side in sides.items()}
    found = take_turns(sides, rounds, steps)
    row = speed(cell, found["ours"], flops, peak)
    row |= {"compile_s": mine.compile_s, "peak_memory_gb": peak_memory(cell.devices[0]) / 1e9}
    row |= {f"program_{name}_gb": size / 1e9 for name, size in mine.program.items()}
    row |= {"first_loss": first["ours"]["loss"], "first_grad_norm": first["ours"]["grad_norm"]}
    if check:
        with_it, spread = ratio(found["ours"], found["unchecked"])
        row |= {"check_percent": 100 * (with_it - 1), "check_percent_iqr": 100 * spread}
        row |= {"check_alone_percent": 100 * check_seconds(variables) / row["p50_s"]}
    if "torch" in sides:
        row |= against(cell, found, first)
    return row | {"status": status(row)}


def check_seconds(variables: dict, repeats: int = 30) -> float:
    """Median seconds of what the look for numbers that are not finite adds to a step: the norms, by themselves.

    An upper bound, as within a step they may share a pass over memory with the update; whole steps vary by far more.
    """
    norms = jax.jit(lambda trees: jnp.isfinite(jnp.stack([optax.global_norm(tree) for tree in trees])).all())
    trees = jax.device_put([variables["params"], variables.get("batch_stats", {})])
    norms(trees).block_until_ready()
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        norms(trees).block_until_ready()
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds))


def first_step(side: Side) -> dict[str, float]:
    """Loss and gradient norm of the first step and its seconds, then one step more."""
    began = time.perf_counter()
    side.wait(handle := side.step(next(side.feed)))
    found = {"seconds": time.perf_counter() - began} | side.read(handle)
    side.wait(side.step(next(side.feed)))
    return found


def speed(cell: Cell, rounds: Sequence[Steps], flops: float, peak: float) -> dict[str, float]:
    """Percentiles of a step in seconds, and the rates that follow from the median."""
    median = (times := percentiles(rounds))["p50_s"]
    # Devices that are cores of one processor share its peak.
    share = 1 if cell.devices[0].platform == "cpu" else len(cell.devices)
    waited = sum(sum(steps.waited) for steps in rounds)
    return times | {
        "slices_per_s": cell.config.train.batch / median,
        "flops_a_step": flops,
        "tflops": flops / median / 1e12,
        "peak_tflops": share * peak / 1e12,
        "percent_of_peak": 100 * flops / median / (share * peak),
        "percent_waiting": 100 * waited / sum(all_seconds(rounds)),
    }


def percentiles(rounds: Sequence[Steps]) -> dict[str, float]:
    values = np.percentile(all_seconds(rounds), PERCENTILES)
    return {f"p{rank}_s": float(value) for rank, value in zip(PERCENTILES, values, strict=True)}


def against(
    cell: Cell, found: dict[str, list[Steps]], first: dict[str, dict[str, float]]
) -> dict[str, float]:
    """The reference's times, how far the two first steps differ, how far they may."""
    times = percentiles(found["torch"])
    faster, spread = ratio(found["torch"], found["ours"])
    loss, norm = (relative(first["ours"][name], first["torch"][name]) for name in ("loss", "grad_norm"))
    allowed = tolerance(cell)
    return {f"torch_{name}": value for name, value in times.items()} | {
        "torch_slices_per_s": cell.config.train.batch / times["p50_s"],
        "torch_compile_s": first["torch"]["seconds"] - times["p50_s"]
        if cell.about["torch"] == "compile"
        else None,
        "torch_peak_memory_gb": torch_peak_memory(),
        "times_faster_than_torch": faster,
        "times_faster_iqr": spread,
        "loss_difference": loss,
        "grad_norm_difference": norm,
        "loss_tolerance": allowed[0],
        "grad_norm_tolerance": allowed[1],
    }


def relative(found: float, expected: float) -> float:
    return abs(found - expected) / abs(expected)


def torch_peak_memory() -> float | None:
    """GB that torch's tensors held at most since this side was made, None on a CPU."""
    import torch

    return torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else None


def tolerance(cell: Cell) -> tuple[float, float]:
    """The entry of `TOLERANCE` for the precision that the cell's device computes in."""
    dtype = cell.config.model.dtype
    return TOLERANCE["tf32" if dtype == "float32" and cell.devices[0].platform == "gpu" else dtype]


def status(row: dict[str, Any]) -> str:
    """ "MISMATCH" where the first steps lie further apart than allowed, or where ours gave no number."""
    pairs = [(row[f"{name}_difference"], row[f"{name}_tolerance"]) for name in ("loss", "grad_norm")
             if f"{name}_difference" in row]  # fmt: skip
    finite = math.isfinite(row["first_loss"]) and math.isfinite(row["first_grad_norm"])
    return "ok" if finite and all(found <= allowed for found, allowed in pairs) else "MISMATCH"
