"""How does a coil's uneven sensitivity scale an image from place to place?"""

import jax
import jax.numpy as jnp

ORDER = 3


def monomials(order: int = ORDER) -> list[tuple[int, int, int]]:
    """Exponents (i, j, k) of x^i y^j z^k with i + j + k <= order, k fastest: 20 of them for order 3."""
    upto = range(order + 1)
    return [(i, j, k) for i in upto for j in upto for k in upto if i + j + k <= order]


def bias_field(image: jax.Array, coefficients: jax.Array, z: jax.Array, order: int = ORDER) -> jax.Array:
    """image * exp(sum of c_ijk x^i y^j z^k), for one image [H,W,1] (TorchIO 0.20, `BiasField`).

    x runs along H and y along W, both from -1 at the first pixel's centre to 1 at the last one's. With the
    slice's own z the field is exactly the volume's: slice k of D lies at z = 2 k / (D - 1) - 1. `coefficients`
    are in the order of `monomials`.

    Source: Van Leemput et al. 1999, "Automated model-based bias field correction of MR images of the brain".
    """
    x, y = (_positions(size) for size in image.shape[:2])
    terms = zip(coefficients, monomials(order), strict=True)
    exponent = sum(c * z**k * x[:, None] ** i * y[None, :] ** j for c, (i, j, k) in terms)
    return image * jnp.exp(exponent)[..., None]


def _positions(size: int) -> jax.Array:
    """-1 to 1, a single pixel at 0."""
    return (2 * jnp.arange(size) - (size - 1)) / max(size - 1, 1)


def draw_bias_field(key: jax.Array, largest: float = 0.5, order: int = ORDER) -> tuple[jax.Array, jax.Array]:
    """Coefficients, each uniform within +-`largest`, then z, uniform within +-1: for slices of unknown place."""
    u = jax.random.uniform(key, (len(monomials(order)) + 1,), minval=-1, maxval=1)
    return largest * u[:-1], u[-1]
