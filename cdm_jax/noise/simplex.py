"""What is a smooth random field that spans many scales, drawn from one key an image?"""

import functools

import jax
import numpy as np

from cdm_jax.noise import opensimplex
from cdm_jax.noise.keys import require_key_per_image

# Root mean square of one octave over all tables and points. Its square is, in closed form, E|g|^2 / n
# / (norm^2 * volume per vertex) * integral of |d|^2 (2 - |d|^2)^8 over the ball of radius sqrt(2).
# Measured over 4096 tables and 2000 points: 0.3683 in 2-D, 0.3135 in 3-D.
OCTAVE_RMS = {2: 0.36805, 3: 0.31387}

STATIC = ("shape", "octaves", "persistence", "frequency", "z", "normalise")


def octave_field(
    table: jax.Array,
    height: int,
    width: int,
    *,
    octaves: int = 6,
    persistence: float = 0.8,
    frequency: float = 64,
    z: float | None = None,
) -> jax.Array:
    """Sum of `octaves` OpenSimplex fields [H, W] float32 for one permutation table [256].

    Octave i samples pixel (row, column) at (x, y) = (column, row) * 2^i / frequency with amplitude
    persistence^i, so `frequency` is the first octave's period in pixels. `z` None takes 2-D noise, a number
    (in pixels, too) that plane of 3-D noise. All octaves read one table and start at a lattice vertex, so
    pixel (0, 0) of a 2-D field is always 0. Source: Wyatt et al., AnoDDPM, CVPR Workshops 2022.
    """
    return opensimplex.evaluate(_octave_stencil(height, width, octaves, persistence, frequency, z), table)


@functools.partial(jax.jit, static_argnames=STATIC)
def simplex(
    key: jax.Array,
    shape: tuple[int, int, int, int],
    *,
    octaves: int = 6,
    persistence: float = 0.8,
    frequency: float = 64,
    z: float | None = None,
    normalise: bool = False,
) -> jax.Array:
    """Octave noise of `shape` (B, H, W, C), float32; image b depends on `key[b]` alone.

    `key` holds typed keys [B]; each channel draws its own permutation table. `octave_field` has the settings.
    The amplitudes are summed as published: over many keys the default has a root mean square of 0.585.
    `normalise` divides by OCTAVE_RMS * sqrt(sum of squared amplitudes), which brings that to 0.99.
    Raises ValueError if there is not one typed key an image.
    """
    require_key_per_image(key, shape)
    _, height, width, channels = shape
    settings = {"octaves": octaves, "persistence": persistence, "frequency": frequency, "z": z}

    def channel(key):
        return octave_field(jax.random.permutation(key, 256), height, width, **settings)

    def image(key):
        return jax.vmap(channel, out_axes=-1)(jax.random.split(key, channels))

    eps = jax.vmap(image)(key)
    return eps / _rms(octaves, persistence, 2 if z is None else 3) if normalise else eps


def _rms(octaves: int, persistence: float, n: int) -> float:
    """Root mean square of a sum of octaves that were independent."""
    return OCTAVE_RMS[n] * float(np.sqrt(sum(persistence ** (2 * i) for i in range(octaves))))


@functools.lru_cache(maxsize=16)
def _octave_stencil(height, width, octaves, persistence, frequency, z) -> opensimplex.Stencil:
    """One stencil for the sum of all octaves, which differ in points and amplitude but share the table."""
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    pixels = np.stack([columns, rows] if z is None else [columns, rows, np.full_like(rows, z)], -1)
    scale = 2.0 ** np.arange(octaves) / frequency
    each = opensimplex.stencil_at(pixels * scale[:, None, None, None])  # points [O, H, W]
    weight = each.weight * (persistence ** np.arange(octaves)).astype(np.float32)[:, None, None]
    return each._replace(
        lookup=each.lookup.reshape(-1, height, width), weight=weight.reshape(len(weight), -1, height, width)
    )
