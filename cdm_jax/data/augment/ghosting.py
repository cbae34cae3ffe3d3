"""How does periodic motion repeat an image along the direction of phase encoding?"""

import jax
import jax.numpy as jnp

from cdm_jax.data.augment.separable import separable


def ghosting(
    image: jax.Array, count: jax.Array, axis: jax.Array, intensity: jax.Array, restore: float | None = None
) -> jax.Array:
    """`count` ghosts along `axis` (0 or 1) of one image [H,W,1] (TorchIO 0.20, `Ghosting`).

    Of the spectrum along the axis, zero frequency in the middle, every `count`-th plane from the first on is
    multiplied by 1 - intensity, the centre is put back, and the real part of the inverse is the result. `count`
    is at least 1. `restore` None, as published, puts the plane of zero frequency back (TorchIO 0.20.0 does so for
    any value); a share in [0, 1] puts back the middle 2 * (round(share * size) // 2) planes instead.

    The transforms along all other axes cancel, so the slice is exactly that of a volume with ghosts along this
    axis. Ghosts along the slice axis, which TorchIO draws for a third of the volumes, would need the other
    slices: here, as in TorchIO on 2-D images, the axis is one of the two in the plane.
    """
    rows, columns = (
        _ghost_matrix(size, count, jnp.where(axis == along, intensity, 0.0), restore)
        for along, size in enumerate(image.shape[:2])
    )
    return separable(image, rows, columns)


def _ghost_matrix(size: int, count: jax.Array, intensity: jax.Array, restore: float | None) -> jax.Array:
    """Identity - intensity * (real part of the projection on the attenuated frequencies), [size, size].

    The projection takes from i to j with the weight mean_f a_f cos(2 pi f (i - j) / size), a_f being 1 at the
    attenuated frequencies and 0 elsewhere.
    """
    plane, centre = jnp.arange(size), size // 2
    half = None if restore is None else round(restore * size) // 2
    kept = plane == centre if half is None else (centre - half <= plane) & (plane < centre + half)
    attenuated = (plane % count == 0) & ~kept
    turns = (plane[:, None] - centre) * plane[None, :] % size  # in integers: no large angle loses digits
    kernel = (attenuated[:, None] * jnp.cos(2 * jnp.pi / size * turns)).mean(axis=0)
    return jnp.eye(size) - intensity * kernel[(plane[:, None] - plane[None, :]) % size]


def draw_ghosting(
    key: jax.Array, counts: tuple[int, int] = (4, 10), intensities: tuple[float, float] = (0.5, 1.0)
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Count, uniform with both ends; axis, 0 or 1; intensity, uniform."""
    u = jax.random.uniform(key, (3,))  # one draw: most of the time to compile goes into random numbers
    count = counts[0] + jnp.floor(u[0] * (counts[1] - counts[0] + 1)).astype(jnp.int32)
    return count, (u[1] < 0.5).astype(jnp.int32), intensities[0] + u[2] * (intensities[1] - intensities[0])
