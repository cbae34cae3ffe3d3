"""How much arithmetic does the reconstruction of a slice take?"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from cdm_jax import methods


def flops_per_slice(config: ConfigDict, evaluations: int) -> float:
    """XLA's count for one encoding and one denoiser call, the latter times `evaluations`; nothing is compiled.

    The whole sampler is not counted at once because XLA counts the body of a scan once.
    """
    network = methods.model(config)
    height, width, _ = config.preprocess.shape
    image, t = jnp.zeros((1, height, width, 1)), jnp.zeros(1, jnp.int32)
    variables = methods.variable_shapes(config)

    def encode(variables, image):
        return network.apply(variables, image, False, method="encode")

    def predict(variables, x_t, t, cond):
        return network.apply(variables, x_t, t, cond, method="predict")

    cond = jax.eval_shape(encode, variables, image)
    encoder = 0.0 if cond is None else flops(encode, variables, image)
    return encoder + evaluations * flops(predict, variables, image, t, cond)


def flops(function: Callable, *inputs) -> float:
    """XLA's count of `function`, lowered for the CPU: other backends hide convolutions in library calls."""
    try:
        device = jax.devices("cpu")[0]
    except RuntimeError:
        device = jax.devices()[0]
    with jax.default_device(device):
        cost = jax.jit(function).lower(*inputs).cost_analysis()
    return cost["flops"] if cost else float("nan")
