"""How does contrast change when intensities are raised to a power?"""

import jax
import jax.numpy as jnp


def gamma(image: jax.Array, log_gamma: jax.Array) -> jax.Array:
    """sign(x) |x|^g with g = exp(log_gamma), for one image of any shape (TorchIO 0.20, `Gamma`).

    A slice of a volume changes as the volume does.
    """
    return jnp.sign(image) * jnp.abs(image) ** jnp.exp(log_gamma)


def draw_gamma(key: jax.Array, largest: float = 0.3) -> jax.Array:
    """log_gamma, uniform within +-`largest`."""
    return jax.random.uniform(key, minval=-largest, maxval=largest)
