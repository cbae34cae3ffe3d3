"""Winograd's convolution is the convolution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_arrays import generator, relative_error

from cdm_jax.models.unet import UNet
from cdm_jax.models.winograd import convolve

SETTINGS = {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}
SAME = [(1, 1), (1, 1)]


def image_and_kernel(height=48, width=52, channels=(3, 5), dtype=np.float32):
    rng = generator("winograd")
    image = rng.standard_normal((2, height, width, channels[0])).astype(dtype)
    return jnp.asarray(image), jnp.asarray(rng.standard_normal((3, 3, *channels)).astype(dtype))


def test_it_is_the_ordinary_convolution_by_other_products():
    image, kernel = image_and_kernel()
    expected = jax.lax.conv_general_dilated(image, kernel, (1, 1), SAME, **SETTINGS)
    program = jax.jit(lambda image, kernel: convolve(image, kernel, (1, 1), SAME, **SETTINGS))
    assert relative_error(program(image, kernel), expected) < 2e-5
    assert "convolution" not in program.lower(image, kernel).as_text()


@pytest.mark.parametrize(("size", "stride", "padding", "dtype"), [
    ((24, 24), 1, SAME, np.float32), ((50, 48), 1, SAME, np.float32), ((48, 48), 2, SAME, np.float32),
    ((48, 48), 1, [(0, 0), (0, 0)], np.float32), ((48, 48), 1, SAME, jnp.bfloat16),
])  # fmt: skip
def test_where_it_does_not_serve_it_is_the_ordinary_one(size, stride, padding, dtype):
    image, kernel = image_and_kernel(*size, dtype=dtype)
    given = (image, kernel, (stride, stride), padding)
    np.testing.assert_array_equal(
        convolve(*given, **SETTINGS), jax.lax.conv_general_dilated(*given, **SETTINGS)
    )


def test_gradients_are_the_same():
    image, kernel = image_and_kernel()

    def gradient(function):
        def loss(kernel):
            return jnp.sum(jnp.sin(function(image, kernel, (1, 1), SAME, **SETTINGS)))

        return jax.jit(jax.grad(loss))(kernel)

    assert relative_error(gradient(convolve), gradient(jax.lax.conv_general_dilated)) < 1e-4


def test_the_unet_gives_the_same_image():
    def unet(**settings):
        return UNet(8, (1, 2), 1, **settings)

    x_t, t = jnp.asarray(generator("x").standard_normal((2, 48, 48, 1)), jnp.float32), jnp.array([3, 700])
    template = jax.eval_shape(unet().init, jax.random.key(0), x_t, t)
    rng = generator("weights")
    variables = jax.tree.map(lambda leaf: 0.2 * rng.standard_normal(leaf.shape).astype(np.float32), template)
    expected = jax.jit(unet().apply)(variables, x_t, t)
    assert expected.std() > 0.1
    assert relative_error(jax.jit(unet(convolve=convolve).apply)(variables, x_t, t), expected) < 1e-4
