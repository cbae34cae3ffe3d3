"""How is the median over cubes of voxels found without sorting?"""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

BITS = 32


@partial(jax.jit, static_argnames="size")
def median_filter(volume: jax.Array, size: int = 5) -> jax.Array:
    """Median over cubes of `size` voxels (odd), the volume mirrored at its faces: float32 like `volume`.

    The median is the largest number that at most half of the window lies below, and is searched bit by bit:
    32 rounds of comparing and counting, which run on any device as one elementwise program. Equal, bit for bit,
    to `scipy.ndimage.median_filter(volume, size, mode="reflect")`.

    Raises: ValueError: even size.
    """
    if size % 2 == 0:
        raise ValueError(f"a median over {size} voxels has no centre: take an odd size")
    padded = jnp.pad(_ordered_bits(volume.astype(jnp.float32)), size // 2, mode="symmetric")
    shifts = list(itertools.product(range(size), repeat=volume.ndim))

    def set_bit(round_, median):
        candidate = median | (jnp.uint32(1) << (BITS - 1 - round_).astype(jnp.uint32))
        below = jnp.zeros(volume.shape, jnp.int32)
        for shift in shifts:
            ends = [first + length for first, length in zip(shift, volume.shape, strict=True)]
            below += jax.lax.slice(padded, shift, ends) < candidate
        return jnp.where(below <= len(shifts) // 2, candidate, median)

    return _from_ordered_bits(jax.lax.fori_loop(0, BITS, set_bit, jnp.zeros(volume.shape, jnp.uint32)))


SIGN = np.uint32(1 << 31)


def _ordered_bits(values: jax.Array) -> jax.Array:
    """Unsigned integers in the order of the floats: all bits of a negative turned, of others the sign."""
    bits = jax.lax.bitcast_convert_type(values, jnp.uint32)
    return jnp.where(bits & SIGN, ~bits, bits | SIGN)


def _from_ordered_bits(bits: jax.Array) -> jax.Array:
    return jax.lax.bitcast_convert_type(jnp.where(bits & SIGN, bits ^ SIGN, ~bits), jnp.float32)
