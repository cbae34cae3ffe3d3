"""Does the encoder compute what timm's ResNet computes?"""

import flax.errors
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_arrays import array, load, nhwc, relative_error
from golden_models import golden_variables
from hypothesis import given, settings
from hypothesis import strategies as st

from cdm_jax.errors import UsageError
from cdm_jax.models.batch_norm import BatchNorm
from cdm_jax.models.encoders import ENCODERS, make_encoder
from cdm_jax.models.resnet import Block, convolve, stochastic_depth
from cdm_jax.torch_import import to_torch

IMAGE = jnp.zeros((1, 96, 96, 1))


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_output_equals_timm(name):
    golden = load(f"encoder_{name}")
    net = make_encoder(name, 512)
    x = nhwc(array(f"encoder_{name}:x", (2, 1, 96, 96), "uniform"))
    variables = golden_variables(net, x)
    assert set(to_torch(variables)) == set(golden["meta"]["names"])
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == golden["meta"]["params"]

    assert relative_error(jax.jit(net.apply)(variables, x), golden["y_eval"]) < 1e-5
    in_training = jax.jit(lambda variables, x: net.apply(variables, x, True, mutable="batch_stats"))
    cond, updated = in_training(variables, x)
    assert relative_error(cond, golden["y_train"]) < 1e-4
    moved = jax.tree.map(
        lambda old, new: bool(jnp.any(old != new)), variables["batch_stats"], updated["batch_stats"]
    )
    assert all(jax.tree.leaves(moved))


# Published sizes of torchvision's and timm's models with 1000 classes, less two of three input channels.
@pytest.mark.parametrize(
    ("name", "published"),
    [("resnet18", 11689512), ("resnet34", 21797672), ("resnet50", 25557032), ("resnet101", 44549160)],
)
def test_parameter_counts(name, published):
    shapes = jax.eval_shape(make_encoder(name, 1000).init, jax.random.key(0), IMAGE)
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == published - 2 * 64 * 49


def test_unknown_encoder_lists_the_known_ones():
    with pytest.raises(UsageError, match=", ".join(sorted(ENCODERS))):
        make_encoder("resnet51", 8)


def test_fresh_blocks_add_nothing():
    net = Block(8, stride=1, bottleneck=False, drop_path=0.0, dtype=jnp.float32)
    x = jax.random.normal(jax.random.key(0), (2, 6, 6, 8))
    variables = net.init(jax.random.key(1), x, False)
    np.testing.assert_array_equal(net.apply(variables, x, False), nn.relu(x))


def test_stochastic_depth_grows_linearly_from_zero():
    rates = []

    def record(call, args, kwargs, context):
        if isinstance(context.module, Block):
            rates.append(context.module.drop_path)
        return call(*args, **kwargs)

    with nn.intercept_methods(record):
        jax.eval_shape(make_encoder("resnet50", 8, drop_path=0.05).init, jax.random.key(0), IMAGE)
    np.testing.assert_allclose(rates, np.linspace(0, 0.05, 16))


@settings(max_examples=20, deadline=None)
@given(st.floats(0.01, 0.95), st.integers(0, 2**31 - 1))
def test_stochastic_depth_drops_whole_samples_and_keeps_the_mean(rate, seed):
    kept = stochastic_depth(jnp.ones((4096, 1, 2, 3)), rate, jax.random.key(seed))
    assert (kept == kept[:, :1, :1, :1]).all()
    np.testing.assert_allclose(np.unique(kept), [0, 1 / (1 - rate)], rtol=1e-5)
    six_sigma = 6 * np.sqrt(rate / (1 - rate) / 4096)
    assert abs(kept.mean() - 1) < six_sigma


def test_stochastic_depth_needs_its_rng_in_training_only():
    net = Block(4, stride=1, bottleneck=False, drop_path=0.5, dtype=jnp.float32)
    x = jax.random.normal(jax.random.key(0), (16, 4, 4, 4))
    variables = jax.tree.map(
        lambda leaf: leaf + 0.1, jax.jit(net.init, static_argnums=2)(jax.random.key(1), x, False)
    )
    net.apply(variables, x, False)
    with pytest.raises(flax.errors.InvalidRngError):
        net.apply(variables, x, True, mutable="batch_stats")

    @jax.jit
    def train(seed):
        return net.apply(variables, x, True, mutable="batch_stats", rngs={"drop_path": jax.random.key(seed)})[
            0
        ]

    np.testing.assert_array_equal(train(0), train(0))
    untouched = (train(0) == nn.relu(x)).all(axis=(1, 2, 3))
    assert 0 < untouched.sum() < 16
    assert (train(0) != train(1)).any()


@settings(max_examples=6, deadline=None)
@given(st.integers(2, 3), st.floats(0.1, 10), st.floats(-10, 10))
def test_batch_norm_follows_torch(batch, spread, offset):
    net = BatchNorm()
    x = offset + spread * jax.random.normal(jax.random.key(batch), (batch, 3, 3, 2))
    variables = jax.jit(net.init, static_argnums=2)(jax.random.key(0), x, True)
    assert (variables["batch_stats"]["mean"] == 0).all()  # initialising is no training step
    in_training = jax.jit(lambda variables, x: net.apply(variables, x, True, mutable="batch_stats"))
    normalised, updated = in_training(variables, x)
    samples = np.asarray(x, np.float64).reshape(-1, 2)
    expected = (samples - samples.mean(0)) / np.sqrt(samples.var(0) + 1e-5)
    np.testing.assert_allclose(normalised.reshape(-1, 2), expected, atol=1e-3)
    stats = updated["batch_stats"]
    np.testing.assert_allclose(stats["mean"], 0.1 * samples.mean(0), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(stats["var"], 0.9 + 0.1 * samples.var(0, ddof=1), rtol=1e-3)


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 2**31 - 1), st.floats(0.1, 10), st.floats(-10, 10))
def test_masked_batch_norm_counts_the_visible_positions_alone(seed, spread, offset):
    net, draw = BatchNorm(), np.random.default_rng(seed)
    x = (offset + spread * draw.standard_normal((3, 4, 5, 2))).astype(np.float32)
    mask = draw.permutation(60).reshape(3, 4, 5, 1) < draw.integers(3, 60)
    variables = {
        "params": {"scale": np.float32([0.5, 2]), "bias": np.float32([3, -1])},
        "batch_stats": {"mean": np.zeros(2, np.float32), "var": np.ones(2, np.float32)},
    }
    in_training = jax.jit(lambda v, x, mask: net.apply(v, x, True, mask, mutable="batch_stats"))
    normalised, updated = jax.device_get(in_training(variables, x, mask))
    visible, samples = mask[..., 0], np.float64(x)[mask[..., 0]]
    expected = (samples - samples.mean(0)) / np.sqrt(samples.var(0) + 1e-5) * [0.5, 2] + [3, -1]
    np.testing.assert_allclose(normalised[visible], expected, atol=1e-2)
    assert (normalised[~visible] == 0).all()
    stats = updated["batch_stats"]
    np.testing.assert_allclose(stats["mean"], 0.1 * samples.mean(0), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(stats["var"], 0.9 + 0.1 * samples.var(0, ddof=1), rtol=1e-3)

    in_evaluation = net.apply(variables, x, False, mask)[visible]
    np.testing.assert_allclose(in_evaluation, samples / np.sqrt(1 + 1e-5) * [0.5, 2] + [3, -1], rtol=1e-4)


def test_bfloat16_keeps_parameters_statistics_and_output_in_float32():
    net = make_encoder("resnet18", 8, dtype=jnp.bfloat16)
    variables = jax.eval_shape(net.init, jax.random.key(0), IMAGE)
    cond, stats = jax.eval_shape(lambda v: net.apply(v, IMAGE, True, mutable="batch_stats"), variables)
    assert {leaf.dtype for leaf in jax.tree.leaves((variables, cond, stats))} == {jnp.dtype("float32")}
    jaxpr = jax.make_jaxpr(net.apply)(variables, IMAGE)
    products = [
        str(line.invars[0].aval.dtype)
        for line in jaxpr.eqns
        if str(line.primitive) in ("conv_general_dilated", "dot_general")
    ]
    assert products.count("bfloat16") == 20
    assert products.count("float32") == 1  # the head


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.sampled_from([1, 2]), st.sampled_from([3, 7]))
def test_the_product_for_small_images_is_the_convolution(height, width, stride, kernel):
    image = array("small:image", (2, height, width, 3))
    weights = array("small:weights", (kernel, kernel, 3, 4))
    padding = ((kernel // 2, kernel // 2),) * 2
    layout = {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}
    expected = jax.lax.conv_general_dilated(image, weights, (stride, stride), padding, **layout)
    found = convolve(image, weights, (stride, stride), padding, **layout)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
