"""Do torch weights enter and leave unchanged, and are strangers refused?"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_arrays import load
from hypothesis import given, settings
from hypothesis import strategies as st

from cdm_jax.errors import CheckpointError
from cdm_jax.models.cddpm import CDDPM
from cdm_jax.models.encoders import make_encoder
from cdm_jax.models.unet import UNet
from cdm_jax.torch_import import PUBLISHED, from_torch, to_torch, torch_name

UNET = UNet(32, (1, 2), 1, attention_levels=(2,), cond_features=16)
IMAGE = jnp.zeros((1, 32, 32, 1))
MODELS = {
    "unet": (UNET, (IMAGE, jnp.zeros(1), jnp.zeros((1, 16)))),
    "encoder": (make_encoder("resnet50", 16), (IMAGE,)),
    "both": (CDDPM(UNET, make_encoder("resnet18", 16)), (IMAGE, IMAGE, jnp.zeros(1))),
}


def template(name: str):
    net, inputs = MODELS[name]
    return jax.eval_shape(net.init, jax.random.key(0), *inputs)


def random_variables(name: str):
    """Variables of which every number is another one."""
    draw = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: draw.standard_normal(leaf.shape, np.float32), template(name))


def small():
    """A template with a convolution, a linear layer and a normalisation, and its state."""
    stats = {"bn1": {"mean": np.zeros(3, np.float32), "var": np.ones(3, np.float32)}}
    params = {
        "conv1": {"kernel": np.zeros((3, 3, 1, 3), np.float32)},
        "bn1": {"scale": np.ones(3, np.float32), "bias": np.zeros(3, np.float32)},
        "fc": {"kernel": np.zeros((3, 5), np.float32), "bias": np.zeros(5, np.float32)},
    }
    variables = {"params": params, "batch_stats": stats}
    return variables, to_torch(variables)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("prefixes", [None, PUBLISHED])
def test_round_trip_is_bit_equal(name, prefixes):
    variables = random_variables(name)
    returned = from_torch(to_torch(variables, prefixes), template(name), prefixes)
    assert jax.tree.structure(returned) == jax.tree.structure(variables)
    jax.tree.map(np.testing.assert_array_equal, returned, variables)


def test_both_networks_have_the_published_names():
    names = set(to_torch(random_variables("both")))
    encoder = {f"encoder.{name}" for name in load("encoder_resnet18")["meta"]["names"]}
    assert {name for name in names if name.startswith("encoder.")} == encoder
    assert {name.split(".")[0] for name in names} == {"unet", "encoder"}
    published = set(to_torch(random_variables("both"), PUBLISHED))
    assert "diffusion.model.label_emb.0.weight" in published
    assert "encoder.encoder.layer4.1.bn2.running_var" in published


def test_layouts():
    state = to_torch(random_variables("both"))
    assert state["encoder.conv1.weight"].shape == (64, 1, 7, 7)
    assert state["unet.middle_block.1.qkv.weight"].shape == (192, 64, 1)
    assert state["unet.middle_block.1.proj_out.weight"].shape == (64, 64, 1)
    assert state["unet.time_embed.0.weight"].shape == (128, 32)
    counter = state["encoder.bn1.num_batches_tracked"]
    assert counter.shape == ()
    assert counter.dtype == np.int64
    kernel = random_variables("both")["params"]["unet"]["input_2_0"]["in_conv"]["kernel"]
    np.testing.assert_array_equal(state["unet.input_blocks.2.0.in_layers.2.weight"][7, 5], kernel[:, :, 5, 7])


def test_names_are_distinct_and_follow_the_rules():
    assert torch_name(("params", "layer1_0", "downsample_bn", "scale")) == "layer1.0.downsample.1.weight"
    assert (
        torch_name(("params", "unet", "output_5_1", "skip", "bias"))
        == "unet.output_blocks.5.1.skip_connection.bias"
    )
    entries = len(jax.tree.leaves(template("both")))
    assert len([name for name in to_torch(random_variables("both")) if "num_batches" not in name]) == entries


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_every_kind_of_difference_is_listed_by_name(data):
    variables, state = small()
    entries = sorted(name for name in state if "num_batches" not in name)
    removed = data.draw(st.sets(st.sampled_from(entries)))
    reshaped = data.draw(st.sets(st.sampled_from(entries))) - removed
    added = data.draw(
        st.sets(st.sampled_from(["fc2.weight", "module.bn1.bias", "diffusion.model.out.0.bias"]))
    )
    changed = {name: value for name, value in state.items() if name not in removed}
    changed |= {name: np.zeros((9, *changed[name].shape)) for name in reshaped} | dict.fromkeys(
        added, np.zeros(2)
    )
    if not removed | reshaped | added:
        from_torch(changed, variables)
        return
    with pytest.raises(CheckpointError) as caught:
        from_torch(changed, variables)
    listed = {}
    for part in str(caught.value).split("; ")[1:]:
        kind, names = part.split(": ")
        listed[kind] = names
    assert set(listed.get("missing", "").split(", ")) - {""} == removed
    assert set(listed.get("unexpected", "").split(", ")) - {""} == added
    assert all(f"{name} {changed[name].shape} instead of" in listed["misshapen"] for name in reshaped)


def test_a_transposed_matrix_is_refused():
    variables, state = small()
    with pytest.raises(CheckpointError, match=r"misshapen: fc.weight \(3, 5\) instead of \(5, 3\)"):
        from_torch(state | {"fc.weight": state["fc.weight"].T}, variables)


def test_counters_and_schedule_buffers_are_no_weights():
    variables, state = small()
    without = {name: value for name, value in state.items() if "num_batches" not in name}
    buffers = ["betas", "sqrt_recipm1_alphas_cumprod", "posterior_mean_coef1", "p2_loss_weight"]
    extended = without | {f"diffusion.{name}": np.zeros(1000) for name in buffers}
    jax.tree.map(np.testing.assert_array_equal, from_torch(extended, variables), variables)


def test_half_precision_weights_become_float32_copies():
    variables, state = small()
    state = {name: np.asarray(value, np.float16) for name, value in state.items()}
    imported = from_torch(state, variables)
    state["bn1.bias"][:] = 7
    assert {leaf.dtype for leaf in jax.tree.leaves(imported)} == {jnp.dtype("float32")}
    assert (imported["params"]["bn1"]["bias"] == 0).all()


class Nested(nn.Module):
    """Layers of many kinds under names that no rule knows, with parameters of their own."""

    depth: int = 2

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(4, (3, 3))(x) * self.param("gain", nn.initializers.ones_init(), ())
        x = nn.ConvTranspose(4, (2, 2), strides=(2, 2), name="upsampling")(x)
        x = nn.BatchNorm(use_running_average=True)(nn.GroupNorm(2)(x))
        x = Nested(self.depth - 1, name="inner")(x) if self.depth else x
        x = x + self.param("offset", nn.initializers.normal(), (3, 5, 4))[:1, :1]
        return nn.LayerNorm(name="last")(nn.Dense(4)(x))


@pytest.mark.parametrize("prefixes", [None, PUBLISHED, {"inner": ""}])
def test_any_module_tree_comes_back_bit_by_bit(prefixes):
    like = jax.eval_shape(Nested().init, jax.random.key(0), jnp.zeros((1, 4, 4, 3)))
    draw = np.random.default_rng(0)
    variables = jax.tree.map(lambda leaf: draw.standard_normal(leaf.shape).astype(np.float32), like)
    if prefixes and "inner" in prefixes:  # whose entries would then stand among those outside
        with pytest.raises(CheckpointError, match="another variable has its torch name"):
            to_torch(variables, prefixes)
        return
    state = to_torch(variables, prefixes)
    assert state["inner.Conv_0.weight"].shape == (4, 4, 3, 3) and state["gain"].shape == ()
    returned = from_torch(state, like, prefixes)
    assert jax.tree.structure(returned) == jax.tree.structure(variables)
    jax.tree.map(np.testing.assert_array_equal, returned, variables)


def test_a_module_whose_entries_stand_outermost():
    variables, state = small()
    inside = {collection: {"encoder": tree} for collection, tree in variables.items()}
    returned = from_torch(state, inside, {"encoder": ""})
    jax.tree.map(np.testing.assert_array_equal, returned, inside)
    assert to_torch(inside, {"encoder": ""}).keys() == state.keys()


def test_a_collection_without_variables_stays():
    variables, state = small()
    params = {"params": {"fc": variables["params"]["fc"]}, "batch_stats": {}}
    given = {name: entry for name, entry in state.items() if name.startswith("fc")}
    assert from_torch(given, params)["batch_stats"] == {}
