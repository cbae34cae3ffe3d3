"""Which noise does a sampler of ours draw inside its program?"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from cdm_jax import build
from cdm_jax.samplers.walk import Level, fresh_noise


def start_noise(config: ConfigDict, key: jax.Array) -> np.ndarray:
    """The noise that carries images with these keys[B] up to the start, [B,H,W,1]."""
    return _drawn(config, key, lambda noise, key, shape: noise(key, shape))


def draws_noise(config: ConfigDict, key: jax.Array) -> np.ndarray:
    """The same for every draw of an ensemble, [draws,B,H,W,1], as `samplers.ensemble.members` keys them."""
    folded = jax.vmap(jax.random.fold_in, (0, None))
    return np.stack([start_noise(config, folded(key, i)) for i in range(config.sampler.draws)])


def steps_noise(config: ConfigDict, key: jax.Array, levels: Sequence[int]) -> dict[int, np.ndarray]:
    """{step index: noise [B,H,W,1] that the step away from it adds}, for the levels left."""

    def of_level(n: int) -> np.ndarray:
        here = Level(*(jnp.asarray(n),) * 3)  # only its number counts
        return _drawn(config, key, lambda noise, key, shape: fresh_noise(noise, key, here, shape))

    return {int(n) - 1: of_level(int(n)) for n in levels}


def _drawn(config: ConfigDict, key: jax.Array, draw: Callable) -> np.ndarray:
    """draw(noise, key[B], shape), [B,H,W,1]; images of one key share the memory of one field."""
    height, width, _ = config.preprocess.shape
    data = np.asarray(jax.random.key_data(key))
    distinct = key[:1] if (data == data[0]).all() else key
    field = np.asarray(draw(build.noise(config), distinct, (len(distinct), height, width, 1)))
    return np.broadcast_to(field, (len(key), *field.shape[1:]))
