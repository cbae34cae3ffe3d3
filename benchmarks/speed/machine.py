"""What is this machine able to do, and what does it hold?"""

import contextlib
import importlib.util
import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
from jax.experimental.compilation_cache import compilation_cache

from cdm_jax import provenance

SIDE = {"cpu": 2048}
"""Rows of the square matrices whose product gives the peak; 8192 on an accelerator."""


def matrix_peak(dtype: jnp.dtype, device: jax.Device, side: int | None = None, tries: int = 8) -> float:
    """FLOP/s of the largest matrix product worth timing: the best of `tries` bursts, at jax's default precision.

    On a GPU a float32 product is therefore one in TF32, as are the float32 convolutions measured beside it.
    """
    side = side or SIDE.get(device.platform, 8192)
    burst = 1 if device.platform == "cpu" else 10
    key = jax.random.key(0)
    matrix = jax.device_put(jax.random.normal(key, (side, side), dtype), device)
    product = jax.jit(jnp.dot)
    product(matrix, matrix).block_until_ready()

    def seconds() -> float:
        began = time.perf_counter()
        results = [product(matrix, matrix) for _ in range(burst)]
        jax.block_until_ready(results)
        return (time.perf_counter() - began) / burst

    return 2 * side**3 / min(seconds() for _ in range(tries))


def peak_memory(device: jax.Device) -> int:
    """Most bytes held at once since the process began: by jax on an accelerator, by everything on a CPU.

    It never falls, so the rows of one process can only grow: measure a cell alone to know its own.
    """
    stats = device.memory_stats()
    if stats is not None and "peak_bytes_in_use" in stats:
        return stats["peak_bytes_in_use"]
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@contextlib.contextmanager
def without_cache() -> Iterator[None]:
    """Compile everything anew inside, so that compile times mean something; the user's setting comes back."""
    before = jax.config.jax_enable_compilation_cache
    try:
        jax.config.update("jax_enable_compilation_cache", False)
        compilation_cache.reset_cache()  # jax asks only once whether the cache is in use
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", before)
        compilation_cache.reset_cache()


def has_torch() -> bool:
    """True where torch can be imported; it is not imported here."""
    return importlib.util.find_spec("torch") is not None


def environment() -> dict:
    """`provenance.environment()` with what a comparison depends on besides: torch, threads, memory pages."""
    found = provenance.environment() | {
        "processor": processor(),
        "threads": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "matmul_precision": jax.config.jax_default_matmul_precision or "default",
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY", "default"),
        "malloc": os.environ.get("GLIBC_TUNABLES", ""),
    }
    return found | (torch_environment() if has_torch() else {"torch": "not installed"})


def torch_environment() -> dict:
    import torch

    return {
        "torch": torch.__version__,
        "torch_threads": torch.get_num_threads(),
        "torch_device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "torch_tf32": {
            "matmul": torch.backends.cuda.matmul.allow_tf32,
            "conv": torch.backends.cudnn.allow_tf32,
        },
    }


def processor() -> str:
    """The processor's name as the kernel gives it, empty where it gives none."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
