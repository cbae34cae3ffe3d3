"""How do the published PyTorch weights become Flax variables, and back?"""

import re
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from cdm_jax.differences import Shapes, differences
from cdm_jax.errors import CheckpointError

# Where the published training keeps its two networks: `from_torch(state, template, PUBLISHED)`. A checkpoint
# trained without SparK's wrapper around the encoder has "encoder" in place of "encoder.encoder".
PUBLISHED = {"unet": "diffusion.model", "encoder": "encoder.encoder"}

# Flax module -> torch module, applied to each part of a path; a part without a rule keeps its name.
MODULES = [
    (r"(input|output)_(\d+)_(\d+)", r"\1_blocks.\2.\3"),
    (r"middle_(\d+)", r"middle_block.\1"),
    (r"(layer\d)_(\d+)", r"\1.\2"),
    (r"cond_embed", "label_emb"),
    (r"hidden", "0"),
    (r"final", "2"),
    (r"in_norm", "in_layers.0"),
    (r"in_conv", "in_layers.2"),
    (r"modulation", "emb_layers.1"),
    (r"out_norm", "out_layers.0"),
    (r"out_conv", "out_layers.3"),
    (r"skip", "skip_connection"),
    (r"head_norm", "out.0"),
    (r"head_conv", "out.2"),
    (r"downsample_conv", "downsample.0"),
    (r"downsample_bn", "downsample.1"),
    (r"densify_norm_(\d)", r"en_de_norms.\1"),
    (r"densify_proj_(\d)", r"en_de_lins.\1"),
    (r"mask_token_(\d)", r"mask_tokens.\1"),
    (r"dec_(\d)", r"dec.\1"),
    (r"first_conv", "conv.0.b.0"),
    (r"first_norm", "conv.0.b.1"),
    (r"second_conv", "conv.0.b.3"),
    (r"second_norm", "conv.0.b.4"),
    (r"stem_conv", "stem.0"),
    (r"stem_norm", "stem.1"),
    (r"stage(\d)_(\d+)", r"stages.\1.blocks.\2"),
    (r"stage(\d)_norm", r"stages.\1.downsample.0"),
    (r"stage(\d)_conv", r"stages.\1.downsample.1"),
    (r"mlp_(fc\d)", r"mlp.\1"),
    (r"transformer_blocks_(\d+)", r"transformer_blocks.\1"),
    (r"to_out", "to_out.0"),
    (r"widen", "net.0.proj"),
    (r"narrow", "net.2"),
]
LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}

# Entries that are no weights: counters of batches, and the noise schedule, which is computed here.
IGNORED = re.compile(
    r"(.*\.)?num_batches_tracked"
    r"|diffusion\.(betas|\w*alphas_cumprod\w*|posterior_\w+|p2_loss_weight)"
)

Path = tuple[str, ...]


def from_torch(
    state: Mapping[str, Any], template: Mapping, prefixes: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Flax variables of `template`'s structure and dtypes, filled from a torch state dict.

    Args:
      state: names -> arrays in torch layout.
      template: {"params", "batch_stats"} of a UNet, an encoder or a CDDPM; `jax.eval_shape` will do.
      prefixes: torch names of the template's outermost modules where they differ, such as `PUBLISHED`; "" for
        a module whose entries stand outermost themselves.

    Raises:
      CheckpointError: names are missing, unexpected or of another shape; the message lists them all.
    """
    leaves = flatten_dict(template)
    names = {path: torch_name(path, prefixes) for path in leaves}
    _refuse_differences(state, {names[path]: torch_shape(path, leaves[path].shape) for path in leaves})
    converted = {
        path: jnp.array(_from_torch_layout(path, np.asarray(state[names[path]])), leaf.dtype)
        for path, leaf in leaves.items()
    }
    return {collection: {} for collection in template} | unflatten_dict(converted)


def to_torch(variables: Mapping, prefixes: Mapping[str, str] | None = None) -> dict[str, np.ndarray]:
    """Torch state dict (names -> arrays in torch layout) of Flax variables; the inverse of `from_torch`.

    Raises: CheckpointError: two variables have the same torch name.
    """
    state: dict[str, np.ndarray] = {}
    for path, leaf in flatten_dict(variables).items():
        name = torch_name(path, prefixes)
        if name in state:
            raise CheckpointError(f"{'/'.join(path)}: another variable has its torch name, {name}")
        state[name] = np.asarray(_to_torch_layout(path, np.asarray(leaf)), order="C")
        if path[-1] == "var":
            state[name.replace("running_var", "num_batches_tracked")] = np.zeros((), np.int64)
    return state


def torch_name(path: Path, prefixes: Mapping[str, str] | None = None) -> str:
    """Name of a variable's torch entry: ("params", "layer1_0", "bn1", "scale") -> "layer1.0.bn1.weight"."""
    _, *modules, leaf = path
    parts = [*map(_torch_module, modules), LEAVES.get(leaf, _torch_module(leaf))]
    if prefixes and path[1] in prefixes:
        parts[0] = prefixes[path[1]]
    return ".".join(filter(None, parts))


def torch_shape(path: Path, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of the torch entry of a variable of `shape`."""
    return _to_torch_layout(path, np.broadcast_to(0, shape)).shape


def _torch_module(name: str) -> str:
    for pattern, replacement in MODULES:
        if match := re.fullmatch(pattern, name):
            return match.expand(replacement)
    return name


def _is_pointwise(path: Path, leaf: np.ndarray) -> bool:
    """True for the linear layers that torch writes as convolutions of width 1, (out, in, 1)."""
    return path[-2:] in {("qkv", "kernel"), ("proj_out", "kernel")} and leaf.ndim < 4


def _to_torch_layout(path: Path, leaf: np.ndarray) -> np.ndarray:
    """HWIO -> OIHW, (in, out) -> (out, in) or (out, in, 1); what is like an image, NHWC -> NCHW."""
    if path[-1] != "kernel":
        return np.moveaxis(leaf, -1, 1) if leaf.ndim == 4 else leaf
    transposed = np.moveaxis(leaf, (-1, -2), (0, 1))
    return transposed[..., None] if _is_pointwise(path, leaf) else transposed


def _from_torch_layout(path: Path, entry: np.ndarray) -> np.ndarray:
    """The inverse of `_to_torch_layout`."""
    if path[-1] != "kernel":
        return np.moveaxis(entry, 1, -1) if entry.ndim == 4 else entry
    return np.moveaxis(entry[..., 0] if _is_pointwise(path, entry) else entry, (0, 1), (-1, -2))


def _refuse_differences(state: Mapping[str, Any], expected: Shapes) -> None:
    found = {name: tuple(np.shape(entry)) for name, entry in state.items() if not IGNORED.fullmatch(name)}
    if differing := differences(found, expected):
        told = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in differing.items())
        raise CheckpointError(f"the state dict does not fit the model; {told}")
