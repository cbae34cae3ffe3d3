"""Does the UNet compute what the published one computes?"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_arrays import array, load, nhwc, relative_error
from golden_models import golden_unet, golden_variables
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cdm_jax.errors import UsageError
from cdm_jax.models.layers import ResidualBlock, SelfAttention, downsample, timestep_embedding, upsample
from cdm_jax.models.unet import UNet
from cdm_jax.torch_import import to_torch

GOLDEN = ["unet_small", "unet_small_attention", "unet_small_unconditional"]


def golden_case(name: str, **settings):
    """The module, its inputs, its golden variables and the golden file."""
    golden = load(name)
    features = golden["meta"]["cond"]
    cond = None if features is None else array(f"{name}:cond", (2, features))
    inputs = nhwc(array(f"{name}:x", (2, 1, 32, 32))), jnp.asarray(golden["t"]), cond
    net = golden_unet(golden["meta"], **settings)
    return net, inputs, golden_variables(net, *inputs), golden


@pytest.mark.parametrize("name", GOLDEN)
def test_output_equals_the_published_one(name):
    net, inputs, variables, golden = golden_case(name)
    predicted = jax.jit(net.apply)(variables, *inputs)
    assert predicted.dtype == jnp.float32
    assert relative_error(predicted, nhwc(golden["y"])) < 1e-5
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == golden["meta"]["params"]
    assert set(to_torch(variables)) == set(golden["meta"]["names"])


def test_paper_configuration_has_44_million_parameters():
    inputs = jnp.zeros((1, 96, 96, 1)), jnp.zeros(1, jnp.int32), jnp.zeros((1, 512))
    shapes = jax.eval_shape(UNet(cond_features=512).init, jax.random.key(0), *inputs)
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    assert round(count / 1e6, 2) == 44.07


def test_bfloat16_computes_in_bfloat16_and_returns_float32():
    net, inputs, variables, golden = golden_case("unet_small_attention", dtype=jnp.bfloat16)
    jaxpr = jax.make_jaxpr(net.apply)(variables, *inputs)
    convolutions = [
        str(line.invars[0].aval.dtype) for line in jaxpr.eqns if "conv_general" in str(line.primitive)
    ]
    assert convolutions.count("float32") == 1  # the last one
    assert convolutions.count("bfloat16") == len(convolutions) - 1 > 20
    predicted = jax.jit(net.apply)(variables, *inputs)
    assert predicted.dtype == jnp.float32
    assert 1e-4 < relative_error(predicted, nhwc(golden["y"])) < 0.05


def test_fresh_model_predicts_zero_and_learns_at_once():
    net = UNet(32, (1,), 1)
    inputs = jax.random.normal(jax.random.key(0), (2, 8, 8, 1)), jnp.zeros(2)
    variables = jax.jit(net.init)(jax.random.key(1, impl="rbg"), *inputs)
    loss = lambda variables: jnp.mean((net.apply(variables, *inputs) - 1) ** 2)  # noqa: E731
    value, gradient = jax.jit(jax.value_and_grad(loss))(variables)
    assert value == 1
    assert jnp.max(jnp.abs(gradient["params"]["head_conv"]["kernel"])) > 0


def test_attention_levels_are_downsampling_factors():
    def attends(levels):
        net = UNet(32, (1, 2, 2), 1, levels)
        inputs = jnp.zeros((1, 16, 16, 1)), jnp.zeros(1)
        params = jax.eval_shape(net.init, jax.random.key(0), *inputs)["params"]
        return {name for name, module in params.items() if "qkv" in module}

    assert attends((3, 6, 12)) == {"middle_1"}
    assert attends((4,)) == {"middle_1", "input_5_1", "output_0_1", "output_1_1"}


def test_dropout_acts_in_training_only():
    net = ResidualBlock(32, dropout=0.5)
    x, embedding = jax.random.normal(jax.random.key(0), (2, 4, 4, 32)), jnp.ones((2, 8))
    variables = jax.tree.map(lambda leaf: leaf + 0.1, jax.jit(net.init)(jax.random.key(1), x, embedding))

    @partial(jax.jit, static_argnums=1)
    def run(seed, train):
        return net.apply(variables, x, embedding, train, rngs={"dropout": jax.random.key(seed)})

    np.testing.assert_array_equal(run(0, False), run(1, False))
    assert relative_error(run(0, True), run(1, True)) > 0.01


@pytest.mark.parametrize(
    ("size", "cond", "message"),
    [(30, (1, 8), "multiples of 4"), (32, None, "length 8, given None"), (32, (1, 9), "length 8, given 9")],
)
def test_unusable_inputs_are_refused(size, cond, message):
    net = UNet(32, (1, 1, 1), 1, cond_features=8)
    cond = None if cond is None else jnp.zeros(cond)
    with pytest.raises(UsageError, match=message):
        jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, size, size, 1)), jnp.zeros(1), cond)


def test_timestep_embedding_is_cosine_then_sine():
    t = np.array([0, 1, 499, 999])
    phases = t[:, None] * 10000.0 ** (-np.arange(64) / 64)
    expected = np.concatenate([np.cos(phases), np.sin(phases)], axis=1)
    np.testing.assert_allclose(timestep_embedding(jnp.asarray(t), 128), expected, atol=2e-4)


@settings(max_examples=20, deadline=None)
@given(arrays(np.float32, (2, 4, 6, 3), elements=st.floats(-8, 8, width=16)))
def test_downsampling_undoes_upsampling(x):
    np.testing.assert_array_equal(downsample(upsample(x)), x)
    np.testing.assert_array_equal(upsample(x)[:, 1::2, ::2], x)
    assert jnp.allclose(downsample(x)[:, 0, 0], x[:, :2, :2].mean((1, 2)), atol=1e-5)


@settings(max_examples=10, deadline=None)
@given(st.permutations(range(8)))
def test_attention_does_not_see_the_order_of_positions(order):
    x = jax.random.normal(jax.random.key(0), (1, 8, 1, 128))
    net = SelfAttention()
    variables = jax.tree.map(lambda leaf: 0.1 + leaf, net.init(jax.random.key(1), x))
    attended = net.apply(variables, x)
    assert relative_error(net.apply(variables, x[:, order]), attended[:, order]) < 1e-5
    assert relative_error(attended, x) > 0.01


def test_attention_refuses_heads_that_do_not_fit():
    with pytest.raises(UsageError, match="96 channels cannot be cut into heads of 64"):
        nn.init(lambda net, x: net(x), SelfAttention())(jax.random.key(0), jnp.zeros((1, 2, 2, 96)))
