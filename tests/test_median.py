"""The median filter equals scipy's, bit for bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from cdm_jax.median import median_filter

FINITE = st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=False)


@settings(max_examples=30, deadline=None)
@given(arrays(np.float32, (6, 5, 4), elements=FINITE), st.sampled_from([1, 3, 5]))
def test_it_is_scipys(volume, size):
    np.testing.assert_array_equal(
        median_filter(volume, size), ndimage.median_filter(volume, size, mode="reflect")
    )


def test_it_is_scipys_on_a_residual():
    volume = np.abs(np.random.default_rng(0).standard_normal((30, 28, 20))).astype(np.float32)
    volume[:9] = 0
    np.testing.assert_array_equal(median_filter(volume, 5), ndimage.median_filter(volume, 5, mode="reflect"))


def test_an_even_size_is_refused():
    with pytest.raises(ValueError, match="odd"):
        median_filter(np.ones((4, 4, 4)), 4)
