"""Networks with the golden weights."""

import jax
import numpy as np
from golden_arrays import weight

from cdm_jax.models.unet import UNet
from cdm_jax.torch_import import from_torch, to_torch


def golden_variables(network, *inputs) -> dict:
    """The network's variables as the recipe draws them, by their torch names."""
    template = jax.eval_shape(network.init, jax.random.key(0), *inputs)
    blank = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), template)
    state = {name: weight(name, entry.shape) for name, entry in to_torch(blank).items()}
    return from_torch(state, template)


def golden_unet(meta: dict, **settings) -> UNet:
    """The UNet that a golden file's meta describes."""
    sizes = (meta["ch"], tuple(meta["mult"]), meta["blocks"], tuple(meta["att"]))
    return UNet(*sizes, cond_features=meta["cond"], **settings)
