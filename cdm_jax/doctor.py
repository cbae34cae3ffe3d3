"""What this machine offers, and what stands in the way of speed."""

import ctypes.util
import shutil
from pathlib import Path

import jax

from cdm_jax import provenance

GPU_FIX = "pip install -U 'jax[cuda13]'"


def report() -> list[str]:
    """Lines on devices, versions, free disk, and the way out where a GPU lies idle."""
    found = provenance.environment()
    lines = [
        f"devices           {found['backend']}: {', '.join(found['devices'])}",
        f"machine           {found['machine']}",
    ]
    lines += [f"{name:<17} {version}" for name, version in found["versions"].items()]
    free = shutil.disk_usage(Path.cwd()).free
    lines.append(f"free disk         {free / 2**30:.1f} GiB in {Path.cwd()}")
    if has_nvidia_gpu() and jax.default_backend() == "cpu":
        lines.append(f"a GPU is present, but this jaxlib is CPU-only: {GPU_FIX}")
    return lines


def has_nvidia_gpu() -> bool:
    """Whether an NVIDIA device or its driver stands on this machine."""
    return Path("/dev/nvidia0").exists() or ctypes.util.find_library("cuda") is not None
