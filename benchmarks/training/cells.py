"""Which combinations of settings does one run of train_speed.py measure?"""

import argparse
import itertools
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict
from speed.cells import PRESETS
from speed.rows import torch_modes

from cdm_jax import build
from cdm_jax import config as configs
from cdm_jax.errors import UsageError, choose
from cdm_jax.mesh import devices_for, make_mesh
from cdm_jax.sharding import check_dtype

WORK: dict[str, dict[str, Any]] = {
    "same": {
        "augment.gamma": 0.0,
        "augment.bias_field": 0.0,
        "augment.blur": 0.0,
        "augment.ghosting": 0.0,
        "encoder.drop_path": 0.0,
        "model.dropout": 0.0,
    },
    "full": {},
}
"""What a step does: what both sides can do alike, with t and noise handed in, or all that `cdm train` does."""

CONSTANT = {"train.warmup": 0, "train.cosine": False}
"""The learning rate does not move, so that the first step is one."""

IN_TORCH = ("none", "resnet18", "resnet34", "resnet50", "resnet101")
"""Encoders that the torch reference has."""


class Cell(NamedTuple):
    """One combination: what its row says of it, its config, the devices that ours takes."""

    about: dict[str, Any]
    config: ConfigDict
    devices: list[jax.Device]


def make_cells(args: argparse.Namespace, overrides: list[str]) -> list[Cell]:
    """Every combination that the command line asks for, checked; nothing is compiled or run for one that fails.

    Raises: UsageError: a name, number or device that there is not, or torch asked for where it is not installed.
    """
    modes = torch_modes(args.torch)
    for dtype in args.dtype:
        choose(build.DTYPES, dtype, "dtype")
        check_dtype(jax.devices()[0], dtype)
    found: dict[str, Cell] = {}
    for work, dtype, batch, accumulate, remat, fsdp, devices, mode in itertools.product(
        args.work,
        args.dtype,
        args.batch or [None],
        args.accumulate,
        args.remat,
        args.fsdp,
        args.devices,
        modes,
    ):
        chosen = {"model.dtype": dtype, "train.batch": batch, "train.accumulate": accumulate,
                  "train.remat": choose(SWITCH, remat, "--remat"), "train.fsdp": fsdp, "train.devices": devices,
                  **choose(WORK, work, "--work"), **CONSTANT}  # fmt: skip
        words = [f"--config.{key}={value}" for key, value in chosen.items() if value is not None]
        cell = _cell(args.preset, work, configs.load(PRESETS[args.preset], [*overrides, *words]), mode)
        found[str(cell.about)] = cell  # off, eager and compile are one cell where torch lacks the model
    return list(found.values())


def _cell(preset: str, work: str, config: ConfigDict, mode: str) -> Cell:
    settings = config.train
    devices = devices_for(settings.batch, settings.devices)
    if settings.batch % (settings.accumulate * len(devices)):
        told = f"{settings.batch} slices cannot be cut into {settings.accumulate} pieces on {len(devices)} devices"
        raise UsageError(f"--accumulate: {told}")
    make_mesh(devices, settings.fsdp)
    about = {
        "preset": preset,
        "work": work,
        "dtype": config.model.dtype,
        "batch": settings.batch,
        "accumulate": settings.accumulate,
        "remat": settings.remat,
        "fsdp": settings.fsdp,
        "devices": len(devices),
        "torch": mode if work == "same" and torch_has(config) else "off",
    }
    return Cell(about, config, devices)


SWITCH = {"off": False, "on": True}


def torch_has(config: ConfigDict) -> bool:
    """Whether the reference has this config's networks, objective and rules."""
    return (
        config.model.objective == "cddpm"
        and config.diffusion.prediction in ("x0", "eps")
        and config.diffusion.p2_gamma == 0
        and config.encoder.name in IN_TORCH
        and config.model.dropout == config.encoder.drop_path == 0
    )
