"""How does a 3x3 convolution get by with a quarter of its multiplications?"""

import jax
import jax.numpy as jnp
import numpy as np

OUT, TILE = 4, 6  # F(4x4, 3x3): tiles of 6x6 pixels, overlapping by two, give 4x4 each
LEAST = 48  # pixels of the shorter side, below which the transforms cost more than they save

# The transforms of image, kernel and product for interpolation at 0, 1, -1, 2, -2 and infinity.
IMAGE = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
KERNEL = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]], np.float32) / 24
PRODUCT = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])


def convolve(image: jax.Array, kernel: jax.Array, strides, padding, **settings) -> jax.Array:
    """`lax.conv_general_dilated` for [B,H,W,C] and a 3x3 kernel, by Winograd's products where they pay.

    Y = A^T [(G g G^T) * (B^T d B)] A for every tile d and kernel g, summed over input channels by 36 matrix
    products. Float32 results differ by about 1e-5 of the largest. Where the image is small, no multiple of 4 or not
    float32, or strides and padding are not 1, it is the ordinary convolution. Source: Lavin and Gray 2016, section 4.
    """
    batch, height, width, _ = image.shape
    plain = kernel.shape[:2] != (3, 3) or tuple(strides) != (1, 1) or list(padding) != [(1, 1), (1, 1)]
    plain = plain or image.dtype != jnp.float32
    if plain or height % OUT or width % OUT or min(height, width) < LEAST:
        return jax.lax.conv_general_dilated(image, kernel, strides, padding, **settings)
    rows, columns = height // OUT, width // OUT
    padded = jnp.pad(image, ((0, 0), (1, OUT), (1, OUT), (0, 0)))
    down = _combine(IMAGE, [padded[:, i : i + height : OUT] for i in range(TILE)])
    tiles = _combine(IMAGE, [down[:, :, :, j : j + width : OUT] for j in range(TILE)])
    weights = jnp.einsum("ka,abio,lb->lkio", KERNEL, kernel, KERNEL)
    products = jnp.einsum("lkni,lkio->lkno", tiles.reshape(TILE, TILE, -1, image.shape[-1]), weights)
    across = _combine(PRODUCT, list(products))
    blocks = _combine(PRODUCT, [across[:, k] for k in range(TILE)])
    blocks = blocks.reshape(OUT, OUT, batch, rows, columns, -1).transpose(2, 3, 0, 4, 1, 5)
    return blocks.reshape(batch, height, width, -1)


def _combine(coefficients: np.ndarray, arrays: list[jax.Array]) -> jax.Array:
    """Stack of sum_i coefficients[n, i] arrays[i], zeros left out."""
    return jnp.stack(
        [sum(float(c) * array for c, array in zip(row, arrays, strict=True) if c) for row in coefficients]
    )


CONVOLUTIONS = {"direct": jax.lax.conv_general_dilated, "winograd": convolve}
"""How the UNet's residual blocks convolve."""
