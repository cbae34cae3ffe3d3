"""Do encoder and UNet together train as the published model does?"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from golden_arrays import relative_error

from cdm_jax.models.cddpm import CDDPM
from cdm_jax.models.encoders import make_encoder
from cdm_jax.models.resnet import ResNet
from cdm_jax.models.unet import UNet

IMAGES = jnp.zeros((4, 32, 32, 1)), jnp.zeros((4, 32, 32, 1)), jnp.zeros(4, jnp.int32)


def test_calling_is_encoding_then_predicting():
    model = CDDPM(UNet(32, (1,), 1, cond_features=8), ResNet(8, depths=(1, 1), bottleneck=False))
    image, x_t = jax.random.uniform(jax.random.key(0), (2, 4, 32, 32, 1))
    t = jnp.arange(4)
    variables = jax.jit(model.init)(jax.random.key(1, impl="rbg"), image, x_t, t)
    draw = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda leaf: leaf + 0.05 * draw.standard_normal(leaf.shape, np.float32), variables
    )
    cond = jax.jit(partial(model.apply, method="encode"))(variables, image)
    assert cond.shape == (4, 8)
    predict = jax.jit(partial(model.apply, method="predict"))
    called = jax.jit(model.apply)(variables, image, x_t, t)
    assert relative_error(predict(variables, x_t, t, cond), called) < 1e-4
    assert relative_error(predict(variables, x_t, t, cond + 1), called) > 1e-2


def test_without_encoder_there_is_no_condition():
    model = CDDPM(UNet(32, (1,), 1))
    variables = jax.eval_shape(model.init, jax.random.key(0), *IMAGES)
    assert set(variables["params"]) == {"unet"}
    assert "batch_stats" not in variables
    assert model.apply({}, IMAGES[0], method="encode") is None


def test_initialisation_in_training_mode_needs_one_key_only():
    model = CDDPM(
        UNet(32, (1,), 1, cond_features=8, dropout=0.1), make_encoder("resnet18", 8, drop_path=0.05)
    )
    variables = jax.eval_shape(lambda key: model.init(key, *IMAGES, train=True), jax.random.key(0))
    assert set(variables["params"]) == {"unet", "encoder"}
