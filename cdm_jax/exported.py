"""What is in the file of an exported sampler, and how does it run without the model's code?"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.export
import numpy as np

from cdm_jax.errors import CheckpointError
from cdm_jax.files import atomic_path

Sample = Callable[[np.ndarray, np.ndarray], jax.Array]
"""sample(name[B,3], image[B,H,W,1] in [0, 1]) -> image_hat; name = (seed, subject, slice), uint32."""


def write_exported(
    path: str | Path, program: jax.export.Exported, leaves: Sequence[np.ndarray], facts: dict
) -> None:
    """Keep program(leaves, name, image), its weights and what it is, in one .npz file."""
    arrays: dict[str, Any] = {f"leaf_{n:04d}": np.asarray(leaf) for n, leaf in enumerate(leaves)}
    blob = np.frombuffer(program.serialize(), np.uint8)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, program=blob, facts=np.array(json.dumps(facts)), **arrays)


def read_exported(path: str | Path) -> tuple[Sample, dict]:
    """The sampler in the file and its facts; only jax and numpy are needed.

    Raises: CheckpointError: the file is missing, damaged, or of a jax that this one cannot read.
    """
    try:
        with np.load(path) as file:
            leaves = [file[name] for name in sorted(file) if name.startswith("leaf_")]
            program, facts = jax.export.deserialize(file["program"].tobytes()), json.loads(str(file["facts"]))
    except Exception as error:  # zip, flatbuffer and MLIR each have errors of their own
        raise CheckpointError(
            f"{path}: no exported sampler that this jax ({jax.__version__}) can read ({error})"
        ) from error
    placed = jax.device_put(leaves)
    run = jax.jit(program.call)
    return lambda name, image: run(placed, name, image), facts
