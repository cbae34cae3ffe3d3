"""Which boxes cover an image, and how do they make one reconstruction of it?"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from cdm_jax.diffusion import Denoiser
from cdm_jax.errors import UsageError, choose


def grid_boxes(height: int, width: int, size: int, overlap: int = 0) -> np.ndarray:
    """Boxes of size x size pixels that cover the image, row by row: int [N,4] of (x0, y0, x1, y1).

    x runs along the width, y along the height, both from 0 with x1 and y1 left out. Neighbours share `overlap`
    pixels; the last box of a row or column is moved inside and shares more where the sizes do not divide.

    Raises:
      UsageError: the boxes do not fit into the image, or overlap by their whole size.
    """
    if not 1 <= size <= min(height, width):
        raise UsageError(
            f"boxes of {size} pixels do not fit: give 1 ... {min(height, width)}, the image's side"
        )
    if not 0 <= overlap < size:
        raise UsageError(f"boxes of {size} pixels cannot overlap by {overlap}: give 0 ... {size - 1}")

    def starts(length: int) -> np.ndarray:
        count = 1 + -(-(length - size) // (size - overlap))
        return np.minimum(np.arange(count) * (size - overlap), length - size)

    y0, x0 = (corner.ravel() for corner in np.meshgrid(starts(height), starts(width), indexing="ij"))
    return np.stack([x0, y0, x0 + size, y0 + size], axis=-1)


def inside(box: jax.Array, height: int, width: int) -> jax.Array:
    """Which pixels lie in box[4], which may be traced: bool [H,W,1]."""
    x0, y0, x1, y1 = box
    y, x = jnp.arange(height)[:, None, None], jnp.arange(width)[None, :, None]
    return (x0 <= x) & (x < x1) & (y0 <= y) & (y < y1)


STITCHES = {
    "cut": lambda covered: covered & (jnp.cumsum(covered, axis=0) == 1),
    "average": lambda covered: covered / covered.sum(axis=0),
}
"""Weights of the boxes in a pixel that several cover, from bool [N,H,W,1]: the first one's, or all alike.

The published "cut" takes from each box one cell of the grid without overlap, which is the first box's part.
"""


def stitch(images: jax.Array, boxes: jax.Array, mode: str) -> jax.Array:
    """One image of what every box gives: images[N,B,H,W,1], boxes[N,4] -> [B,H,W,1]; `mode` is a key of `STITCHES`.

    Raises:
      UsageError: unknown mode.
    """
    covered = jax.vmap(inside, (0, None, None))(jnp.asarray(boxes), *images.shape[2:4])
    weights = choose(STITCHES, mode, "stitch")(covered)
    return (images * weights[:, None]).sum(axis=0)


def within(denoise: Denoiser, x0: jax.Array, mask: jax.Array) -> Denoiser:
    """The denoiser of what lies in the mask[H,W,1], which sees everything else clean and leaves it as x0."""

    def denoise_inside(x_t: jax.Array, t: jax.Array) -> jax.Array:
        return jnp.where(mask, denoise(jnp.where(mask, x_t, x0), t), x0)

    return denoise_inside


def patchwise(sample: Callable, *, size: int, overlap: int, mode: str) -> Callable:
    """The sampler that lets `sample` reconstruct every box of the grid for itself, and stitches them.

    Each box has the same noise and all else clean. One box follows the other on the device.
    Source: Behrendt et al. 2023 (arXiv 2303.03758), section 3.

    Raises:
      UsageError: unknown mode, or once the image is known, boxes that do not fit.
    """
    choose(STITCHES, mode, "stitch")

    def patched(denoise, schedule, noise, key, x0, **settings) -> jax.Array:
        height, width = x0.shape[1:3]
        boxes = jnp.asarray(grid_boxes(height, width, size, overlap))

        def of_box(box: jax.Array) -> jax.Array:
            only_box = within(denoise, x0, inside(box, height, width))
            return sample(only_box, schedule, noise, key, x0, **settings)

        return stitch(jax.lax.map(of_box, boxes), boxes, mode)

    return patched
