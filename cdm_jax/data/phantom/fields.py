"""Where do the random numbers and random fields of a subject come from?"""

import numpy as np
from scipy import sparse

# One stream a purpose, so that a subject's anatomy does not depend on its modality or on having lesions.
STREAMS = AGE, SHAPE, TISSUE, CONTRAST, LESIONS, LESION_CONTRAST, SCAN = range(7)


def generator(seed: int, index: int, stream: int) -> np.random.Generator:
    """Philox keyed by (seed, subject index); streams lie 2^192 draws apart (Salmon et al., SC 2011)."""
    key = np.array([seed % 2**64, index], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=np.array([0, 0, 0, stream], np.uint64)))


def smooth_field(rng: np.random.Generator, shape: tuple[int, ...], spacing: float) -> np.ndarray:
    """Gaussian field [*shape] float32, mean 0, variance 1: cubic B-splines, knots `spacing` voxels apart."""
    bases = [_bspline_basis(size, spacing) for size in shape]
    field = rng.standard_normal([basis.shape[1] for basis in bases], dtype=np.float32)
    for basis in bases:  # contract the first axis, put it last: after all axes the order is restored
        rest = field.shape[1:]
        field = np.moveaxis((basis @ field.reshape(len(field), -1)).reshape(-1, *rest), 0, -1)
    return field


def _bspline_basis(size: int, spacing: float) -> sparse.csr_array:
    """Cubic B-spline weights [size, knots], each row scaled to unit sum of squares (so variance stays 1).

    Sparse rows (4 weights) keep BLAS and its threads out: the same sums in the same order everywhere.
    """
    position = np.arange(size)[:, None] / spacing + 1
    distance = np.abs(position - np.arange(int(position[-1, 0]) + 3))
    inner = 2 / 3 - distance**2 + distance**3 / 2
    outer = np.clip(2 - distance, 0, None) ** 3 / 6
    basis = np.where(distance < 1, inner, outer)
    return sparse.csr_array((basis / np.linalg.norm(basis, axis=1, keepdims=True)).astype(np.float32))
