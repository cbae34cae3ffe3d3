"""How does an image lose sharpness, by another amount along each axis?"""

import jax
import jax.numpy as jnp

from cdm_jax.data.augment.separable import separable

TRUNCATE = 4  # standard deviations at which the kernel ends


def blur(image: jax.Array, std: jax.Array) -> jax.Array:
    """Gaussian of std[2] pixels along H and W, for one image [H,W,1] (TorchIO 0.20, `Blur`).

    The kernel ends int(4 std + 0.5) pixels from its centre and the image is mirrored at its border, repeating
    the outermost pixel: scipy.ndimage.gaussian_filter's defaults, which TorchIO keeps. Exact as long as the
    kernel ends within one image's width of the border.

    TorchIO takes std in mm and divides by the spacing: its 0 to 2 mm are 0 to 1 pixel on the published 2 mm
    grid. It also blurs across slices, by a third std: that part needs the other slices, and is left out here.
    """
    rows, columns = (_gaussian_matrix(size, s) for size, s in zip(image.shape[:2], std, strict=True))
    return separable(image, rows, columns)


def _gaussian_matrix(size: int, std: jax.Array) -> jax.Array:
    """[size, size]: pixel i takes from pixel j, from j's image behind the first pixel and behind the last."""
    i, j = jnp.arange(size)[:, None], jnp.arange(size)[None, :]
    radius = jnp.floor(TRUNCATE * std + 0.5)
    narrow = jnp.maximum(std, 1e-6)  # at std 0 the radius is 0: the centre alone is left, exp(0)

    def weight(distance):
        return jnp.where(jnp.abs(distance) <= radius, jnp.exp(-0.5 * (distance / narrow) ** 2), 0)

    matrix = weight(i - j) + weight(i + j + 1) + weight(2 * size - 1 - i - j)
    return matrix / matrix.sum(axis=1, keepdims=True)


def draw_blur(key: jax.Array, largest: float) -> jax.Array:
    """std[2] in pixels, each uniform from 0 to `largest`."""
    return jax.random.uniform(key, (2,), maxval=largest)
