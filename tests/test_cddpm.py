"""Do encoder and UNet together train as the published model does?"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_arrays import array, generator, load, nhwc, relative_error, weight

from cdm_jax.models.cddpm import CDDPM
from cdm_jax.models.encoders import make_encoder
from cdm_jax.models.resnet import ResNet
from cdm_jax.models.unet import UNet
from cdm_jax.torch_import import from_torch, to_torch

IMAGES = jnp.zeros((4, 32, 32, 1)), jnp.zeros((4, 32, 32, 1)), jnp.zeros(4, jnp.int32)


def golden_model():
    """The model of training_trace.npz with its golden variables."""
    model = CDDPM(UNet(32, (1, 2, 2), 2, cond_features=64), make_encoder("resnet18", 64))
    template = jax.eval_shape(model.init, jax.random.key(0), *IMAGES)
    blank = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), template)
    state = {name: weight(name.split(".", 1)[1], value.shape) for name, value in to_torch(blank).items()}
    return model, from_torch(state, template)


def first_batch():
    """image in [0, 1], x0 and x_t in [-1, 1], t of the first training step."""
    image, eps = (
        nhwc(array("train:x0", (4, 1, 32, 32), "uniform")),
        nhwc(array("train:noise0", (4, 1, 32, 32))),
    )
    t = generator("input:train:t0").integers(0, 1000, 4)
    schedule = load("schedules")
    signal, noise = (schedule[f"cosine_sqrt_{name}alphas_cumprod"][t] for name in ("", "one_minus_"))
    x0 = 2 * image - 1
    x_t = signal[:, None, None, None] * x0 + noise[:, None, None, None] * eps
    return image, x0, x_t.astype(np.float32), t


def test_first_loss_and_every_gradient_equal_the_published_ones():
    golden = load("training_trace")
    model, variables = golden_model()
    image, x0, x_t, t = first_batch()

    def loss(params):
        predicted, _ = model.apply(variables | {"params": params}, image, x_t, t, True, mutable="batch_stats")
        return jnp.mean(jnp.abs(predicted - x0))

    value, gradients = jax.jit(jax.value_and_grad(loss))(variables["params"])
    assert float(value) == pytest.approx(golden["losses"][0], rel=1e-4)
    norms = {name: np.linalg.norm(entry) for name, entry in to_torch({"params": gradients}).items()}
    expected = golden["meta"]["grad_norms_step0"]
    assert norms.keys() == expected.keys()
    largest = max(expected.values())
    for name, norm in norms.items():
        assert norm == pytest.approx(expected[name], rel=2e-4, abs=1e-5 * largest), name


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
