"""What does one cell's row hold?"""

import math
from typing import Any

import numpy as np

from speed.brain import Brain
from speed.cells import Cell
from speed.cost import flops_per_slice
from speed.machine import peak_memory
from speed.sides import ours, theirs
from speed.timing import alternate, median_iqr, timed

TOLERANCE = {
    ("float32", "one step"): 1e-4,
    ("float32", "many steps"): 5e-3,
    ("tf32", "one step"): 1e-2,
    ("tf32", "many steps"): 1e-1,
    ("bfloat16", "one step"): 5e-2,
    ("bfloat16", "many steps"): 3e-1,
}
"""Largest difference allowed between the two outputs, whose brain spans 0 to 1.

float32 differs by the order of sums: some 1e-6 in one step; many carry it on, enlarged some twenty times by these
weights. TF32, in which a GPU multiplies float32, rounds factors to 11 bits and bfloat16 every activation to 8, each
side in other places: 2^-11 and 2^-8 of values up to about 4, and twenty times that after many steps.
"""


def measure(cell: Cell, variables: dict, brain: Brain, peak: float, repeats: int) -> dict[str, Any]:
    """The row of a cell: differences, seconds, rates.

    Both sides are warmed up by a first volume, which compiles, and then take turns.
    Args: peak: FLOP/s of a matrix product in the cell's dtype on one device.
    """
    sides = {"ours": ours(cell.config, variables, brain, cell.about["parallel"], cell.devices)}
    if cell.about["torch"] != "off":
        compiled = cell.about["torch"] == "compile"
        sides["torch"] = theirs(cell.config, variables, brain, compiled=compiled)
    first = {name: timed(run) for name, run in sides.items()}
    seconds = alternate(sides, repeats)
    row = speed(cell, seconds["ours"], len(brain.images), peak)
    row |= {
        "compile_s": first["ours"][0] - row["seconds"],
        "peak_memory_gb": peak_memory(cell.devices[0]) / 1e9,
    }
    if "torch" in sides:
        row |= against(cell, seconds, {name: out for name, (_, out) in first.items()})
        row["torch_compile_s"] = first["torch"][0] - row["torch_seconds"] if compiled else None
    return row | {"status": status(row)}


def speed(cell: Cell, seconds: list[float], slices: int, peak: float) -> dict[str, float]:
    """Seconds a volume and the rates that follow from their median."""
    median, iqr = median_iqr(seconds)
    flops = slices * flops_per_slice(cell.config, cell.evaluations) / median
    # Devices that are cores of one processor share its peak.
    share = 1 if cell.devices[0].platform == "cpu" else len(cell.devices)
    return {
        "seconds": median,
        "seconds_iqr": iqr,
        "slices_per_s": slices / median,
        "tflops": flops / 1e12,
        "peak_tflops": share * peak / 1e12,
        "percent_of_peak": 100 * flops / (share * peak),
    }


def against(cell: Cell, seconds: dict[str, list[float]], out: dict[str, np.ndarray]) -> dict[str, float]:
    """The reference's seconds, how far the outputs differ, how far they may."""
    median, iqr = median_iqr(seconds["torch"])
    difference = np.abs(out["ours"].astype(np.float64) - out["torch"])
    return {
        "torch_seconds": median,
        "torch_seconds_iqr": iqr,
        "times_faster_than_torch": median / median_iqr(seconds["ours"])[0],
        "largest_difference": float(difference.max()),
        "mean_difference": float(difference.mean()),
        "tolerance": tolerance(cell),
    }


def tolerance(cell: Cell) -> float:
    """The entry of `TOLERANCE` for the precision that the cell's device computes in and for its sampler."""
    dtype = cell.config.model.dtype
    precision = "tf32" if dtype == "float32" and cell.devices[0].platform == "gpu" else dtype
    once = cell.config.sampler.name in ("single_step", "ensemble")
    return TOLERANCE[precision, "one step" if once else "many steps"]


def status(row: dict[str, Any]) -> str:
    """ "MISMATCH" where the two outputs lie further apart than allowed, or where either is not finite."""
    largest = row.get("largest_difference", 0.0)
    return "ok" if math.isfinite(largest) and largest <= row.get("tolerance", 0.0) else "MISMATCH"
