"""Does the condition as a token act as in the published spatial transformer?"""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_arrays import array, load, nhwc, relative_error
from golden_models import golden_unet, golden_variables

from cdm_jax.errors import UsageError
from cdm_jax.models.transformer import Attention, SpatialTransformer
from cdm_jax.models.unet import UNet
from cdm_jax.torch_import import from_torch, to_torch

X = jnp.asarray(array("transformer:x", (2, 4, 4, 8)))
QUICK = {"xla_backend_optimization_level": 0}  # to compile, not to run
TOKENS = jnp.asarray(array("transformer:tokens", (2, 3, 5)))


def random_variables(net, *inputs):
    """Variables of which every number is another one."""
    draw = np.random.default_rng(0)
    template = jax.eval_shape(net.init, jax.random.key(0), *inputs)
    return jax.tree.map(lambda leaf: 0.3 * draw.standard_normal(leaf.shape, np.float32), template)


def test_output_equals_the_published_one():
    golden = load("unet_small_cross_attention")
    x_t, cond = array("unet_cross:x", (2, 1, 32, 32)), array("unet_cross:cond", (2, 64))
    inputs = nhwc(x_t), jnp.asarray(golden["t"]), cond
    net = golden_unet(golden["meta"], conditioning="both")
    variables = golden_variables(net, *inputs)
    state = to_torch(variables)
    assert set(state) == set(golden["meta"]["names"])
    assert len(state) == 306
    assert state["middle_block.1.proj_in.weight"].shape == (128, 128, 1, 1)
    assert (
        relative_error(jax.jit(net.apply, compiler_options=QUICK)(variables, *inputs), nhwc(golden["y"]))
        < 1e-5
    )


# The three ways of conditioning

INPUTS = (
    jnp.asarray(array("small:x", (2, 8, 8, 1))),
    jnp.array([3, 700]),
    jnp.asarray(array("small:cond", (2, 6))),
)


def small_unet(conditioning, cond_features=6):
    return UNet(8, (1,), 1, head_channels=4, cond_features=cond_features, conditioning=conditioning)


def parameters(conditioning, *inputs):
    net = small_unet(conditioning, 6 if len(inputs) == 3 else None)
    return jax.eval_shape(net.init, jax.random.key(0), *inputs)["params"]


def test_each_way_has_its_own_parameters():
    for way, modulates, is_token in (
        ("scale_shift", True, False),
        ("cross_attention", False, True),
        ("both", True, True),
    ):
        found = parameters(way, *INPUTS)
        assert ("cond_embed" in found) == modulates, way
        assert ("transformer_blocks_0" in found["middle_1"]) == is_token, way
        assert found["middle_0"]["modulation"]["kernel"].shape == (64 if modulates else 32, 16)


def test_an_unconditional_model_is_the_same_in_every_way():
    found = [parameters(way, *INPUTS[:2]) for way in ("scale_shift", "cross_attention", "both")]
    assert found[0] == found[1] == found[2]


def test_an_unknown_way_lists_the_known():
    with pytest.raises(UsageError, match="'film': choose one of both, cross_attention, scale_shift"):
        parameters("film", *INPUTS)


def test_the_condition_reaches_the_output_through_the_token_alone():
    x_t, t, cond = INPUTS
    net = small_unet("cross_attention")
    variables = random_variables(net, *INPUTS)
    predict = jax.jit(net.apply, compiler_options=QUICK)
    mixed = predict(variables, x_t, t, cond.at[0].set(cond[1]))
    expected = predict(variables, *INPUTS)
    np.testing.assert_array_equal(mixed[1], expected[1])
    assert relative_error(mixed[0], expected[0]) > 1e-3


# Layers


@cache
def attended():
    net = Attention(4)
    pixels = X.reshape(2, 16, 8)
    return net, pixels, random_variables(net, pixels, TOKENS)


def test_attention_to_one_token_is_a_linear_map_of_it():
    net, pixels, variables = attended()
    params, token = variables["params"], TOKENS[:, :1]

    @jax.jit
    def attend(params):
        found, pull = jax.vjp(lambda params: net.apply({"params": params}, pixels, token), params)
        return found, *pull(found)

    found, gradient = attend(params)
    linear = token @ params["to_v"]["kernel"] @ params["to_out"]["kernel"] + params["to_out"]["bias"]
    assert relative_error(found, jnp.broadcast_to(linear, found.shape)) < 1e-5
    assert not jnp.any(gradient["to_q"]["kernel"]) and not jnp.any(gradient["to_k"]["kernel"])
    assert jnp.any(gradient["to_v"]["kernel"])


def test_attention_is_the_softmax_of_scaled_products():
    net, pixels, variables = attended()
    pixels, tokens = np.asarray(pixels), np.asarray(TOKENS)
    q, k, v, out = (
        np.asarray(variables["params"][name]["kernel"]) for name in ("to_q", "to_k", "to_v", "to_out")
    )
    heads = []
    for part in (slice(0, 4), slice(4, 8)):
        scores = np.exp(pixels @ q[:, part] @ np.swapaxes(tokens @ k[:, part], 1, 2) / 2)
        heads.append(scores / scores.sum(-1, keepdims=True) @ (tokens @ v[:, part]))
    expected = np.concatenate(heads, axis=-1) @ out + variables["params"]["to_out"]["bias"]
    assert relative_error(net.apply(variables, pixels, TOKENS), expected) < 1e-5


def test_attention_refuses_heads_that_do_not_fit():
    with pytest.raises(UsageError, match="8 channels cannot be cut into heads of 3"):
        jax.eval_shape(Attention(3).init, jax.random.key(0), X.reshape(2, 16, 8), TOKENS)


def test_a_fresh_transformer_is_the_identity_with_float32_parameters():
    net = SpatialTransformer(4, jnp.bfloat16)
    x = X.astype(jnp.bfloat16)
    found, variables = jax.jit(net.init_with_output, compiler_options=QUICK)(
        jax.random.key(0, impl="rbg"), x, TOKENS
    )
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    assert found.dtype == jnp.bfloat16
    np.testing.assert_array_equal(found, x)


def test_torch_names_and_back_are_bit_equal():
    net = SpatialTransformer(4)
    variables = {"params": {"middle_1": random_variables(net, X, TOKENS)["params"]}}
    state = to_torch(variables)
    assert state["middle_block.1.transformer_blocks.0.ff.net.0.proj.weight"].shape == (64, 8)
    assert state["middle_block.1.proj_out.weight"].shape == (8, 8, 1, 1)
    jax.tree.map(np.testing.assert_array_equal, from_torch(state, variables), variables)


def test_the_normalisations_add_the_published_epsilons():
    net, x = SpatialTransformer(4), 1e-3 * X
    variables = jax.jit(net.init, compiler_options=QUICK)(jax.random.key(0, impl="rbg"), x, TOKENS)
    kernel = variables["params"]["proj_in"]["kernel"]
    variables["params"]["proj_in"]["kernel"] = 1e-3 * kernel

    @partial(jax.jit, compiler_options=QUICK)
    def outputs(variables):
        _, found = net.apply(variables, x, TOKENS, capture_intermediates=True, mutable=["intermediates"])
        return found["intermediates"]

    found = outputs(variables)
    normed, given = found["norm"]["__call__"][0], found["proj_in"]["__call__"][0]
    # Eight channels are eight groups.
    np.testing.assert_allclose(normed, normalised(x, (1, 2), 1e-6), rtol=1e-4, atol=1e-5)
    normed = found["transformer_blocks_0"]["norm1"]["__call__"][0]
    np.testing.assert_allclose(
        normed, normalised(given, -1, 1e-5).reshape(normed.shape), rtol=1e-4, atol=1e-5
    )


def normalised(x, axes, epsilon):
    x = np.asarray(x, np.float64)
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + epsilon)
