"""How are weights kept in a safetensors file, under their torch names?"""

from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
from safetensors.numpy import save

from cdm_jax import __version__, checkpoint
from cdm_jax.architecture import encoder_keys
from cdm_jax.errors import CheckpointError, UsageError
from cdm_jax.files import atomic_path
from cdm_jax.models.encoders import make_encoder
from cdm_jax.torch_file import read_torch
from cdm_jax.torch_import import PUBLISHED, from_torch, to_torch

FILE = "model.safetensors"
ENCODER_FILE = "encoder.safetensors"


def write_weights(path: str | Path, variables: Mapping, step: int) -> None:
    """Keep Flax variables under the published names, with the step and this package's version as metadata."""
    _save(path, to_torch(variables, PUBLISHED), step=str(step))


def read_variables(folder: str | Path, like: dict) -> tuple[dict, int]:
    """(variables, step) of `FILE` in `folder`, or else of the best checkpoint there, shaped like `like`.

    Raises: CheckpointError: as `from_torch` and `checkpoint.restore_variables`.
    """
    path = Path(folder) / FILE
    if not path.exists():
        return checkpoint.restore_variables(folder, like)
    kept = read_torch(path)
    try:
        return from_torch(kept.state, like, PUBLISHED), kept.step
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error


def folder_of(path: str | Path) -> Path:
    """The folder of a model that is given by its folder, or by the `FILE` in it.

    Raises: UsageError: another file.
    """
    path = Path(path)
    if not path.is_file():
        return path
    if path.name != FILE:
        raise UsageError(f"{path}: not a model; give its folder, or the {FILE} in it")
    return path.parent


def encoder_template(keys: Mapping) -> dict:
    """Names and shapes of an encoder without a head, from the keys of `architecture.encoder_keys`."""
    encoder = make_encoder(keys["encoder.name"], None, width=keys["encoder.width"])
    shapes = jax.eval_shape(encoder.init, jax.random.key(0), jnp.zeros((1, 32, 32, 1)))
    return {collection: {"encoder": tree} for collection, tree in shapes.items()}


def write_encoder(path: str | Path, variables: Mapping) -> None:
    """Keep an encoder's variables, which stand under "encoder", with the names of its torch modules alone."""
    _save(path, to_torch(variables, {"encoder": ""}))


def read_encoder(path: str | Path) -> dict:
    """What `write_encoder` kept: {"params": {"encoder": ...}, "batch_stats": {"encoder": ...}}.

    Raises: CheckpointError: the file is missing, damaged, or no encoder of ours without its head.
    """
    state = read_torch(path).state
    try:
        keys = encoder_keys({name: entry.shape for name, entry in state.items()})
        return from_torch(state, encoder_template(keys), {"encoder": ""})
    except (CheckpointError, KeyError) as error:
        raise CheckpointError(f"{path}: no encoder ({error})") from error


def _save(path: str | Path, state: dict, **facts: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(state, metadata={"format": "pt", "cdm_jax": __version__, **facts}))
