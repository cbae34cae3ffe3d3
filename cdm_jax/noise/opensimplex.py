"""What is OpenSimplex noise at given points, for any permutation table?

The value at a point is a sum over nearby lattice vertices of max(0, 2 - |d|^2)^4 * (g . d), d being the way
from the vertex to the point and g a gradient that the permutation table assigns to the vertex. Only g depends
on the table. So everything else is worked out once for a set of points, in numpy and float64 (`stencil_at`),
and a table is turned into noise by one look-up and one weighted sum (`evaluate`), which the device runs.

Lattice, gradients and choice of vertices are those of Kurt Spencer's OpenSimplex (2014, public domain). In
2-D that choice covers every vertex in range. In 3-D it misses some, with jumps in the noise of up to 1.2e-4:
the vertices are therefore chosen by his rules and not by distance.
"""

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cdm_jax.noise.lattice import candidates

STRETCH = {2: -0.211324865405187, 3: -1 / 6}  # (1 / sqrt(n + 1) - 1) / n
SQUISH = {2: 0.366025403784439, 3: 1 / 3}  # (sqrt(n + 1) - 1) / n
NORM = {2: 47.0, 3: 103.0}

_SIGNS_3D = list(itertools.product((1, -1), (1, -1), (-1, 1)))  # of z, y and x
GRADIENTS = {
    2: np.array([[5, 2], [2, 5], [-5, 2], [-2, 5], [5, -2], [2, -5], [-5, -2], [-2, -5]], np.float32),
    3: np.array([np.roll([11, 4, 4], i) * (x, y, z) for z, y, x in _SIGNS_3D for i in range(3)], np.float32),
}


class Stencil(NamedTuple):
    """How noise at points P is put together from the gradients of V distinct vertices, K of them a point."""

    vertices: np.ndarray  # [V, n] int32, modulo 256 as the table sees them
    lookup: np.ndarray  # [K, *P] int32, into vertices
    weight: np.ndarray  # [n, K, *P] float32, factor of each component of the gradient


def permutation_from_seed(seed: int) -> np.ndarray:
    """Permutation table [256] int32 that OpenSimplex derives from a 64-bit integer seed."""

    def step(state):  # Knuth's linear congruential generator, wrapping around as a signed 64-bit integer
        return (state * 6364136223846793005 + 1442695040888963407 + 2**63) % 2**64 - 2**63

    state = step(step(step(seed)))
    source, table = list(range(256)), np.zeros(256, np.int32)
    for last in reversed(range(256)):
        state = step(state)
        drawn = (state + 31) % (last + 1)
        table[last], source[drawn] = source[drawn], source[last]
    return table


def evaluate(stencil: Stencil, table: jax.Array) -> jax.Array:
    """Noise [*P] float32 in about [-1, 1] at the points of `stencil` for the permutation `table` [256]."""
    n = stencil.vertices.shape[1]
    hashed = jnp.zeros(len(stencil.vertices), jnp.int32)
    for axis in range(n):
        hashed = jnp.asarray(table, jnp.int32)[(hashed + stencil.vertices[:, axis]) & 255]
    direction = (hashed & 14) // 2 if n == 2 else hashed % 24
    gradient = jnp.asarray(GRADIENTS[n])[direction].T  # [n, V]
    # Written out: one fused pass over the points, added up in an order that batching cannot change.
    slots = range(len(stencil.lookup))
    return sum(stencil.weight[a, k] * gradient[a][stencil.lookup[k]] for k in slots for a in range(n))


def stencil_at(points: np.ndarray) -> Stencil:
    """Vertices, look-up and weights of the noise at `points` [*P, n], n = 2 or 3."""
    points = np.asarray(points, np.float64)
    n = points.shape[-1]
    stretched = points + STRETCH[n] * points.sum(-1, keepdims=True)
    cell = np.floor(stretched)
    squished = cell + SQUISH[n] * cell.sum(-1, keepdims=True)
    offset, chosen = candidates(stretched - cell)  # [K, *P, n], [K, *P]
    displacement = points - squished - offset - SQUISH[n] * offset.sum(-1, keepdims=True)
    kernel = np.where(chosen, np.maximum(0, 2 - (displacement**2).sum(-1)), 0) ** 4 / NORM[n]
    return _pack((cell + offset).astype(np.int64) & 255, displacement * kernel[..., None])


def _pack(vertices: np.ndarray, weight: np.ndarray) -> Stencil:
    """Number the distinct vertices [K, *P, n], and drop as many idle slots as every point can spare."""
    used = weight.any(-1)
    order = np.argsort(~used, axis=0, kind="stable")[: max(1, used.sum(0).max())]
    vertices, weight = (np.take_along_axis(a, order[..., None], axis=0) for a in (vertices, weight))
    digits = 256 ** np.arange(vertices.shape[-1])
    codes, lookup = np.unique(vertices @ digits, return_inverse=True)
    return Stencil(
        (codes[:, None] // digits % 256).astype(np.int32),
        lookup.reshape(order.shape).astype(np.int32),
        np.moveaxis(weight, -1, 0).astype(np.float32),
    )
