"""What is noise of blobs, drawn from one key an image?"""

import functools

import jax
import jax.numpy as jnp

from cdm_jax.errors import UsageError
from cdm_jax.noise.keys import require_key_per_image


@functools.partial(jax.jit, static_argnames=("shape", "cell"))
def coarse(key: jax.Array, shape: tuple[int, int, int, int], *, cell: int = 8) -> jax.Array:
    """Bilinear blend of standard normal nodes `cell` pixels apart, of `shape` (B, H, W, C), float32.

    Image b depends on `key[b]` alone. The lattice is shifted by a random whole number of pixels, so that every
    pixel has the same distribution, of root mean square 2/3 + 1/(3 cell^2): 1 (white noise) for a cell of 1,
    0.672 for 8. Source: Kascenas et al. 2022: a grid of 16x16 nodes is stretched over 128x128 pixels
    of 1.875 mm, a node every 16 mm, and rolled around at random. Given in pixels (8 of 2 mm) the blobs keep
    their size whatever that of the image; a grid that reaches beyond the image leaves no seam, as rolling does.

    Raises:
      UsageError: the cell is smaller than a pixel.
      ValueError: not one typed key an image.
    """
    require_key_per_image(key, shape)
    if cell < 1:
        raise UsageError(f"coarse noise: nodes cannot be {cell} pixels apart; give 1 or more")
    _, height, width, channels = shape
    rows, columns = ((size + cell - 2) // cell + 2 for size in (height, width))

    def image(key):
        grid_key, shift_key = jax.random.split(key)
        down, right = jax.random.randint(shift_key, (2,), 0, cell)
        grid = jax.random.normal(grid_key, (rows, columns, channels))
        tall = _interpolate(grid, (jnp.arange(height) + down) / cell)
        return _interpolate(tall.swapaxes(0, 1), (jnp.arange(width) + right) / cell).swapaxes(0, 1)

    return jax.vmap(image)(key)


def _interpolate(nodes: jax.Array, position: jax.Array) -> jax.Array:
    """Values at `position` [P], in nodes from 0, between `nodes` [N, ...] -> [P, ...]."""
    before = position.astype(jnp.int32)
    share = (position - before)[:, None, None]
    return (1 - share) * nodes[before] + share * nodes[before + 1]
