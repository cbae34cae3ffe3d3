"""Which code, libraries and machine a result came from."""

import datetime
import importlib.metadata
import os
import platform

import jax

import cdm_jax

LIBRARIES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "nibabel", "SimpleITK")


def versions() -> dict[str, str]:
    """Version of this package, of Python and of every library that a number can depend on, "none" if missing."""
    found = {"cdm_jax": cdm_jax.__version__, "python": platform.python_version()}
    return found | {name: _version(name) for name in LIBRARIES}


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def environment() -> dict:
    """Versions, devices, machine and the time now (UTC, ISO 8601)."""
    return {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "backend": jax.default_backend(),
        "devices": [device.device_kind for device in jax.devices()],
        "processes": jax.process_count(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }
