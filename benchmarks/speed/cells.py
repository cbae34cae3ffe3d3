"""Which combinations of settings does one run of sample_speed.py measure?"""

import argparse
import inspect
import itertools
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from cdm_jax import build, methods
from cdm_jax import config as configs
from cdm_jax.errors import UsageError, choose
from cdm_jax.samplers import SAMPLERS
from cdm_jax.samplers.evaluations import evaluations
from cdm_jax.samplers.spacing import plan
from cdm_jax.sharding import check_dtype, pick_devices
from speed.rows import torch_modes

PRESETS = {"demo": "configs/demo.py", "paper": "configs/default.py"}
IN_TORCH = ("single_step", "ensemble", "ddpm", "ddim")
"""Samplers that the torch reference has; an ensemble there is one of single steps."""


class Cell(NamedTuple):
    """One combination: what its row says of it, its config, its devices, denoiser calls a slice."""

    about: dict[str, Any]
    config: ConfigDict
    devices: tuple[jax.Device, ...]
    evaluations: int


def make_cells(args: argparse.Namespace, overrides: list[str]) -> list[Cell]:
    """Every combination that the command line asks for, checked; nothing is compiled or run for one that fails.

    Raises: UsageError: a name, number or device that there is not, or torch asked for where it is not installed.
    """
    for name in ("repeats", *(["steps"] if args.steps else [])):
        if any(value < 1 for value in _each(getattr(args, name))):
            raise UsageError(f"--{name} must be at least 1, not {getattr(args, name)}")
    if any(size < 1 for size in args.batch or []):
        raise UsageError(f"--batch must be at least 1 slice, not {min(args.batch)}")
    modes = torch_modes(args.torch)
    devices = pick_devices(args.devices)
    for dtype in args.dtype:
        choose(build.DTYPES, dtype, "dtype")
        check_dtype(devices[0], dtype)
    found: dict[str, Cell] = {}
    for sampler, dtype, convolution, batch, mode in itertools.product(
        args.sampler, args.dtype, args.convolution, args.batch or [None], modes
    ):
        choose(SAMPLERS, sampler, "sampler")
        for given in _levels_and_steps(sampler, args.t_start, args.steps):
            chosen = {"sampler.name": sampler, "model.dtype": dtype, "model.convolution": convolution,
                      "sampler.batch": batch, **given}  # fmt: skip
            words = [f"--config.{key}={value}" for key, value in chosen.items() if value is not None]
            config = configs.load(PRESETS[args.preset], [*overrides, *words])
            cell = _cell(args, config, devices, mode)
            found[str(cell.about)] = cell  # off, eager and compile are one cell where torch lacks the sampler
    return list(found.values())


def _cell(args: argparse.Namespace, config: ConfigDict, devices: tuple[jax.Device, ...], mode: str) -> Cell:
    settings, sampler = settings_of(config), config.sampler.name
    methods.reconstruct(config, methods.model(config))
    count = evaluations(SAMPLERS[sampler], build.schedule(config), **settings)
    compared = sampler in IN_TORCH and settings.get("member", "single_step") == "single_step"
    about = {
        "preset": args.preset,
        "sampler": sampler,
        "settings": settings,
        "dtype": config.model.dtype,
        "convolution": config.model.convolution,
        "batch": config.sampler.batch,
        "parallel": args.parallel,
        "devices": len(devices),
        "torch": mode if compared else "off",
        "evaluations": count,
    }
    if args.steps and "t_start" in settings:
        plan(build.schedule(config), settings["t_start"], max(args.steps))
    return Cell(about, config, devices, count)


def settings_of(config: ConfigDict) -> dict[str, Any]:
    """The keyword arguments that the config's sampler reads; of an ensemble only those that its member has."""
    known = inspect.signature(SAMPLERS[config.sampler.name]).parameters
    if config.sampler.name == "ensemble" and config.sampler.member == "single_step":
        known = dict.fromkeys(("t_starts", "draws", "member"))
    unset: tuple = ("", ())
    return {name: value for name, value in config.sampler.items() if name in known and value not in unset}


def _levels_and_steps(sampler: str, t_starts: list[int] | None, steps: list[int] | None) -> list[dict]:
    """Config keys for --t-start and --steps: an ensemble averages all levels, others take them one by one."""
    if sampler == "ensemble":
        levels = [{"sampler.t_starts": tuple(t_starts)} if t_starts else {}]
    else:
        levels = [{"sampler.t_start": t} for t in t_starts or []] or [{}]
    return [level | {"sampler.steps": count} for level in levels for count in steps or [None]]


def _each(value) -> list:
    return value if isinstance(value, list) else [value]
