"""What is white noise drawn from one key an image?"""

import jax

from cdm_jax.noise.keys import require_key_per_image


def gaussian(key: jax.Array, shape: tuple[int, int, int, int]) -> jax.Array:
    """Standard normal noise of `shape` (B, H, W, C), float32; image b depends on `key[b]` alone.

    `key` holds typed keys [B]. Raises ValueError if it does not.
    """
    require_key_per_image(key, shape)
    return jax.vmap(lambda of_image: jax.random.normal(of_image, shape[1:]))(key)
