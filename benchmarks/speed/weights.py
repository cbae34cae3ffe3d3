"""Which weights do both sides compute with?"""

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from ml_collections import ConfigDict

from cdm_jax import methods

BRANCH_ENDS = ("out_conv", "proj_out")
"""The UNet's layers that end a residual branch."""


def random_variables(config: ConfigDict, seed: int = 0) -> dict:
    """Variables of the config's network, every leaf drawn at random, in the order of their names.

    Flax's fresh ones would not do: the last convolutions are zero, and any two networks of zeros agree. But the
    UNet's residual branches end in a tenth of what their size calls for: with whole ones the iterated network is
    chaotic, and 500 steps turn a last bit into another image (measured: an input 1e-4 off is then 1 off, with a
    tenth 2e-3).
    """
    shapes = flatten_dict(methods.variable_shapes(config))
    rng = np.random.default_rng(seed)
    return unflatten_dict({path: draw(rng, path, shapes[path].shape) for path in sorted(shapes)})


def draw(rng: np.random.Generator, path: tuple[str, ...], shape: tuple[int, ...]) -> jax.Array:
    """Kernels of variance 1 / fan_in, which keep activations near 1; near their fresh values the others."""
    normal = rng.standard_normal(shape, np.float32)
    gain = 0.1 if path[-2] in BRANCH_ENDS else 1.0
    forms = {
        "kernel": lambda: gain * normal / np.sqrt(np.prod(shape[:-1], dtype=np.float32)),
        "scale": lambda: 1 + 0.1 * normal,
        "bias": lambda: 0.02 * normal,
        "mean": lambda: 0.1 * normal,
        "var": lambda: 1 + 0.1 * np.abs(normal),
    }
    return jnp.asarray(forms[path[-1]](), jnp.float32)
