"""Which lattice vertices does OpenSimplex sum over at a point?

Coordinates are those of the stretched lattice, in which vertices are integers and a cell is a unit cube.
The choice, ties included, is exactly the original's, because in 3-D that leaves out some vertices in range.
"""

import itertools

import numpy as np


def candidates(inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices that may contribute to points at `inside` [*P, n] of the unit cell, relative to its origin.

    Planes of coordinate sum 1, 2, ... cut the cell into n layers. All corners of a point's own layer take
    part, and n - 1 vertices outside it. Returns vertices [K, *P, n] and whether each is chosen [K, *P].
    """
    n = inside.shape[-1]
    total = inside[..., 0] + inside[..., 1] + (inside[..., 2] if n == 3 else 0)
    layer = np.where(total <= 1, 0, np.where(total >= n - 1, n - 1, 1))
    corners = np.array(list(itertools.product((0, 1), repeat=n)))
    height = corners.sum(-1).reshape(-1, *[1] * layer.ndim)
    chosen = (height == layer) | (height == layer + 1)
    corners = np.broadcast_to(corners.reshape(-1, *[1] * layer.ndim, n), (len(corners), *inside.shape))
    extra = _extra_2d(inside, total, layer) if n == 2 else _extra_3d(inside, total, layer)
    return np.concatenate([corners, extra]), np.concatenate([chosen, np.ones((n - 1, *layer.shape), bool)])


def _extra_2d(inside, total, layer):
    """Mirror image of the triangle's farthest corner in the opposite side, [1, *P, 2]."""
    upper = layer == 1
    x, y = np.moveaxis(_towards_origin(inside, upper), -1, 0)
    origin = np.where(upper, total - 2, 1 - total)  # closeness to the corner that the others surround
    beside = np.where((x > y)[..., None], (1, -1), (-1, 1))
    vertex = np.where(((origin > x) | (origin > y))[..., None], beside, (1, 1))
    return _mirrored_back(vertex, upper)[None]


def _extra_3d(inside, total, layer):
    """The two vertices outside the tetrahedron or octahedron that holds the point, [2, *P, 3]."""
    tetrahedron = _extra_tetrahedron(inside, total, layer == 2)
    return np.where((layer == 1)[..., None], _extra_octahedron(inside), tetrahedron)


def _extra_tetrahedron(inside, total, upper):
    """Two vertices, by whether the origin (in the upper layer (1, 1, 1)) is among the two closest corners."""
    score = _towards_origin(inside, upper)
    x, y, z = np.moveaxis(score, -1, 0)
    first = np.where((x < y) & (z > x), 2, 0)  # of the three axes the farthest drops out
    second = np.where((x >= y) & (z > y), 2, 1)
    a, b = _at(score, first), _at(score, second)
    nearest = np.where(b > a, second, first)
    beside = np.stack([_unit(nearest) - _unit(nearest + shift) for shift in (1, 2)])
    dropped = _unit(3 - first - second)
    across = np.stack([1 - dropped, 1 - 2 * dropped])
    origin = np.where(upper, total - 3, 1 - total)
    return _mirrored_back(np.where(((origin > a) | (origin > b))[..., None], beside, across), upper)


def _extra_octahedron(inside):
    """Two vertices, by the two closest of the six corners; each axis carries an opposite pair of corners."""
    x, y, z = np.moveaxis(inside, -1, 0)
    pair = np.stack([y + z, x + z, x + y], -1)
    far = pair > 1  # the axis' closer corner is 1 - e, not e
    score = np.where(far, pair - 1, 1 - pair)
    weakest = np.where(score[..., 2] <= score[..., 1], 2, 1)
    weakest = np.where(_at(score, weakest) < score[..., 0], weakest, 0)
    dropped, one, two = (_unit(weakest + shift) for shift in range(3))
    far_one, far_two = (_at(far, (weakest + shift) % 3)[..., None] for shift in (1, 2))
    same_side = np.stack([far_one * np.ones(3), np.where(far_one, 2 * dropped, 1 - 2 * dropped)])
    far_axis, near_axis = np.where(far_one, one, two), np.where(far_one, two, one)
    return np.where(far_one == far_two, same_side, np.stack([1 - 2 * far_axis, 2 * near_axis]))


def _towards_origin(inside, upper):
    """Closeness to each axis' corner; the upper layer is the lower one seen from the opposite corner."""
    return np.where(upper[..., None], -inside, inside)


def _mirrored_back(vertex, upper):
    return np.where(upper[..., None], 1 - vertex, vertex)


def _unit(axis):
    return np.eye(3)[axis % 3]


def _at(values, axis):
    return np.take_along_axis(values, axis[..., None], -1)[..., 0]
