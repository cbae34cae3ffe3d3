"""Does SparK compute what the published code computes, from the visible patches alone?"""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_arrays import array, load, nhwc, relative_error, weight
from hypothesis import given, settings
from hypothesis import strategies as st

from cdm_jax.errors import UsageError
from cdm_jax.models.convnext import ConvNeXt
from cdm_jax.models.encoders import ENCODERS, make_encoder
from cdm_jax.models.resnet import ResNet
from cdm_jax.models.spark import PATCH, SparK, crop, to_multiple
from cdm_jax.models.spark_decoder import transposed_conv
from cdm_jax.objectives.spark import draw_active, hidden_loss, make_inpaint, spark
from cdm_jax.torch_import import from_torch, to_torch

QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}  # to compile
DEPTHS = (1, 1, 1, 1)
PUBLISHED_SPARK = {"encoder": "sparse_encoder.sp_cnn", "decoder": "dense_decoder"}
"""Our parts -> where published pretraining keeps them."""
FAMILIES = {
    "resnet": ResNet(None, DEPTHS, bottleneck=False, width=8),
    "convnext": ConvNeXt(None, DEPTHS, width=12),
}
ACTIVE = np.array([[[1, 0], [0, 0]], [[0, 1], [1, 0]], [[0, 0], [0, 1]]], bool)


@cache
def tiny(name: str):
    """A narrow SparK with random variables, and network(variables, image, active, train) compiled."""
    net = SparK(FAMILIES[name], width=32)
    template = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((3, 64, 64, 1)), ACTIVE)
    draw = np.random.default_rng(0)

    def variable(path, leaf):
        number = draw.standard_normal(leaf.shape, np.float32)
        return 1 + number**2 if path[-1].key in ("var", "scale") else 0.2 * number

    variables = jax.tree_util.tree_map_with_path(variable, template)

    def in_encoder(module, method):
        return (module.name, method) == ("encoder", "__call__")

    @partial(jax.jit, compiler_options=QUICK)
    def network(variables, image, active):
        kept = {"mutable": ["batch_stats", "intermediates"], "capture_intermediates": in_encoder}
        return [net.apply(variables, image, active, train, **kept) for train in (False, True)]

    return net, variables, network


def images(name: str, count: int = 3, height: int = 64, width: int = 64) -> np.ndarray:
    return nhwc(array(name, (count, 1, height, width), "uniform"))


def at_resolution(side: int) -> np.ndarray:
    """ACTIVE as a mask of [3,side,side,1]."""
    return np.kron(ACTIVE, np.ones((side // 2, side // 2), bool))[..., None]


def test_golden():
    golden = load("spark_resnet50")
    net, active = SparK(make_encoder("resnet50", None)), golden["active"][:, 0]
    x = nhwc(array("spark:x", (4, 1, 96, 96), "uniform"))
    template = jax.eval_shape(net.init, jax.random.key(0), x, active)
    blank = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), template)
    state = {name: weight(name, entry.shape) for name, entry in to_torch(blank, PUBLISHED_SPARK).items()}
    head = {f"sparse_encoder.sp_cnn.fc.{leaf}" for leaf in ("weight", "bias")}
    assert set(golden["meta"]["names"]) - set(state) == head | {"imn_m", "imn_s", "norm_black"}
    assert set(state) <= set(golden["meta"]["names"])
    unused = 2048 * 512 + 512  # the published model holds the head that pretraining never calls
    count = sum(leaf.size for leaf in jax.tree.leaves(template["params"]))
    assert count + unused == golden["meta"]["params"]

    @partial(jax.jit, compiler_options=QUICK)
    def run(variables):
        def in_mode(train):
            reconstruction, _ = net.apply(variables, x, active, train, mutable="batch_stats")
            latent, _ = net.apply(variables, x, active, train, mutable="batch_stats", method="latent")
            return reconstruction, latent, hidden_loss(x, reconstruction, active).mean()

        return in_mode(False), in_mode(True)

    found = run(from_torch(state, template, PUBLISHED_SPARK))
    for (reconstruction, latent, loss), mode, tolerance in zip(
        found, ("eval", "train"), (1e-5, 1e-3), strict=True
    ):
        assert relative_error(reconstruction, nhwc(golden[f"{mode}_rec"])) < tolerance
        assert relative_error(latent, golden[f"{mode}_latent"]) < tolerance
        assert abs(loss / golden[f"{mode}_loss"] - 1) < 1e-5


@pytest.mark.parametrize("name", FAMILIES)
def test_what_lies_under_hidden_patches_changes_nothing(name):
    _, variables, network = tiny(name)
    x, mask = images("seen"), at_resolution(64)
    expected = jax.device_get(network(variables, x, ACTIVE))
    other = network(variables, np.where(mask, x, images("other")), ACTIVE)
    jax.tree.map(np.testing.assert_array_equal, other, expected)
    (changed, _), _ = network(variables, np.where(mask, images("other"), x), ACTIVE)
    assert np.abs(changed - expected[0][0]).max() > 1e-3
    for _, updated in expected:
        (pyramid,) = updated["intermediates"]["encoder"]["__call__"]
        assert [level.shape[1] for level in pyramid] == [16, 8, 4, 2]
        for level in pyramid:
            np.testing.assert_array_equal(level.any(-1, keepdims=True), at_resolution(level.shape[1]))


@pytest.mark.parametrize("name", FAMILIES)
def test_an_image_without_hidden_patches_is_a_dense_one(name):
    net, variables, network = tiny(name)
    of_encoder = {kind: tree.get("encoder", {}) for kind, tree in variables.items()}

    @partial(jax.jit, compiler_options=QUICK)
    def dense(variables, image):
        return [net.encoder.apply(variables, image, train, mutable="batch_stats") for train in (False, True)]

    whole = network(variables, images("seen"), np.ones_like(ACTIVE))
    for (_, updated), (expected, stats) in zip(whole, dense(of_encoder, images("seen")), strict=True):
        (pyramid,) = updated["intermediates"]["encoder"]["__call__"]
        assert max(map(relative_error, pyramid, expected)) < 1e-4
        for kind, tree in stats.items():
            errors = jax.tree.map(relative_error, updated[kind].get("encoder", {}), tree)
            assert max(jax.tree.leaves(errors), default=0) < 1e-4


def test_every_encoder_pretrains_with_the_weights_it_has_under_its_head():
    image, active = jnp.zeros((1, 96, 96, 1)), jnp.zeros((1, 3, 3), bool)
    for name in ENCODERS.keys() - {"one_block"}:  # of the tests, without the stages that SparK needs
        net = SparK(make_encoder(name, None))
        output, template = jax.eval_shape(net.init_with_output, jax.random.key(0), image, active)
        assert (output.shape, output.dtype) == (image.shape, jnp.float32)
        whole = jax.eval_shape(make_encoder(name, 16).init, jax.random.key(0), image)
        for kind in whole:
            beheaded = {part: tree for part, tree in whole[kind].items() if part not in ("fc", "head")}
            assert len(beheaded) == len(whole[kind]) - (kind == "params")
            assert template[kind]["encoder"] == beheaded


@pytest.mark.parametrize("name", FAMILIES)
def test_bfloat16_keeps_parameters_statistics_and_output_in_float32(name):
    half = {"dtype": jnp.bfloat16}
    net, image = SparK(FAMILIES[name].clone(**half), width=32, **half), jnp.zeros((3, 64, 64, 1))
    everything = jax.eval_shape(net.init_with_output, jax.random.key(0), image, ACTIVE)
    assert {leaf.dtype for leaf in jax.tree.leaves(everything)} == {jnp.dtype("float32")}
    products = [
        str(line.invars[0].aval.dtype)
        for line in jax.make_jaxpr(net.apply)(everything[1], image, ACTIVE).eqns
        if str(line.primitive) in ("conv_general_dilated", "dot_general")
    ]
    assert products.count("bfloat16") > 20
    assert products.count("float32") == 1  # the decoder's last


@pytest.mark.parametrize("name", FAMILIES)
def test_a_gradient_step_lowers_the_loss(name):
    _, variables, _ = tiny(name)
    net = SparK(FAMILIES[name].clone(drop_path=0.05), width=32)
    objective = spark(net, mask_ratio=0.65)
    batch = {"image": images("train", 4, 40, 48), "id": jnp.arange(4)}

    @partial(jax.jit, compiler_options=QUICK)
    def step(params, key):
        def loss(params):
            losses, stats = objective(params, variables["batch_stats"], batch, key, True)
            return losses.mean(), (losses, stats)

        return jax.value_and_grad(loss, has_aux=True)(params)

    params, batch_stats = variables["params"], variables["batch_stats"]
    (before, (losses, stats)), gradients = jax.device_get(step(params, jax.random.key(0)))
    assert losses.shape == (4,)
    assert jax.tree.structure(stats) == jax.tree.structure(batch_stats)
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradients["encoder"]))
    norm = np.sqrt(sum(np.sum(leaf**2) for leaf in jax.tree.leaves(gradients)))
    stepped = jax.tree.map(lambda p, g: p - 1e-3 * g / norm, params, gradients)
    (after, _), _ = step(stepped, jax.random.key(0))
    assert after < before


class Grey:
    """Stands for a SparK that reconstructs every pixel as -1."""

    def apply(self, variables, image, active, train=False, mutable=None, rngs=None):
        reconstruction = jnp.full(image.shape, -1.0)
        return (reconstruction, {}) if mutable else reconstruction


def test_an_images_loss_depends_on_its_id_and_not_on_its_neighbours():
    objective, image = spark(Grey(), mask_ratio=0.65), images("valid", 6, 40, 48)

    @partial(jax.jit, compiler_options=QUICK)
    def score(image, number):
        return objective({}, {}, {"image": image, "id": number}, jax.random.key(3), False)[0]

    first = score(image, jnp.arange(6))
    np.testing.assert_array_equal(score(image, jnp.arange(6)), first)
    np.testing.assert_allclose(score(image[::-1], jnp.arange(6)[::-1]), first[::-1], rtol=1e-6)
    assert (score(image, jnp.arange(6, 12)) != first).any()


def test_inpainting_keeps_what_is_visible():
    image, keys = images("valid", 6, 40, 48) + 0.5, jax.random.split(jax.random.key(0), 6)
    inpaint = jax.jit(make_inpaint(Grey(), 0.65), compiler_options=QUICK)
    masked, filled = jax.device_get(inpaint({}, keys, image))
    visible = masked > 0
    np.testing.assert_array_equal(visible.sum((1, 2, 3)), 40 * 48 / 4)  # one of 2x2 patches
    np.testing.assert_array_equal(masked, np.where(visible, image, 0))
    np.testing.assert_array_equal(filled, np.where(visible, image, -1))


@pytest.mark.parametrize(
    ("rows", "columns", "ratio", "visible"), [(3, 3, 0.65, 3), (2, 2, 0.65, 1), (4, 5, 0.6, 8)]
)
def test_as_many_patches_are_visible_as_the_ratio_says(rows, columns, ratio, visible):
    image = jnp.zeros((5, rows * PATCH, columns * PATCH, 1))
    keys = jax.random.split(jax.random.key(0), 5)
    draw = jax.jit(draw_active, static_argnums=2, compiler_options=QUICK)
    active = draw(keys, image, ratio)
    assert active.shape == (5, rows, columns)
    np.testing.assert_array_equal(active.sum((1, 2)), visible)
    assert (active != active[:1]).any()
    np.testing.assert_array_equal(draw(keys[::-1], image, ratio), active[::-1])


@pytest.mark.parametrize(("ratio", "visible"), [(0.0, 9), (0.02, 9), (0.95, 0), (1.0, 0), (1.5, -4)])
def test_a_ratio_that_hides_nothing_or_all_is_refused(ratio, visible):
    with pytest.raises(UsageError, match=f"mask_ratio {ratio}: {visible} of 3x3 patches"):
        draw_active(jax.random.split(jax.random.key(0), 1), jnp.zeros((1, 96, 96, 1)), ratio)


def test_every_patch_is_hidden_equally_often():
    keys = jax.random.split(jax.random.key(0), 4096)
    draw = jax.jit(draw_active, static_argnums=2, compiler_options=QUICK)
    often = draw(keys, jnp.zeros((1, 96, 96, 1)), 0.65).mean(0)
    six_sigma = 6 * np.sqrt(1 / 3 * 2 / 3 / 4096)
    np.testing.assert_allclose(often, 1 / 3, atol=six_sigma)


@settings(max_examples=8, deadline=None)
@given(st.integers(2, 130), st.integers(2, 130))
def test_padding_is_centred_cropped_again_and_in_no_patch_alone(height, width):
    image = np.random.default_rng(0).random((1, height, width, 1), np.float32) + 1
    padded = to_multiple(image)
    rows, columns = padded.shape[1] // PATCH, padded.shape[2] // PATCH
    assert padded.shape[1:3] == (rows * PATCH, columns * PATCH)
    assert min(rows, columns) >= 2
    np.testing.assert_array_equal(crop(padded, height, width), image)
    assert np.count_nonzero(padded) == image.size
    patches = padded.reshape(rows, PATCH, columns, PATCH)
    assert (patches.sum((1, 3)) > 0).all()
    if height % PATCH == width % PATCH == 0 and min(height, width) >= 2 * PATCH:
        assert padded.shape == image.shape


def test_loss_is_the_mean_over_hidden_pixels_of_the_image():
    image, other = to_multiple(images("loss", 3, 40, 48)), images("other")
    inside = to_multiple(jnp.ones((3, 40, 48, 1), bool))
    found = hidden_loss(image, other, ACTIVE, inside)
    counted = np.asarray(inside) & ~at_resolution(64)
    expected = [((i - o)[c] ** 2).mean() for i, o, c in zip(np.asarray(image), other, counted, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_array_equal(hidden_loss(image, np.where(counted, other, 9), ACTIVE, inside), found)


@settings(max_examples=4, deadline=None)
@given(st.integers(1, 8), st.integers(1, 8))
def test_transposed_convolution_is_jaxs(height, width):
    x, kernel = array("up:x", (2, height, width, 3)), array("up:kernel", (4, 4, 5, 3))
    expected = jax.lax.conv_transpose(x, kernel, (2, 2), "SAME", transpose_kernel=True)
    np.testing.assert_allclose(transposed_conv(x, kernel), expected, rtol=1e-4, atol=1e-4)


def test_sizes_that_cannot_work_are_refused_in_one_line():
    key, active = jax.random.key(0), jnp.zeros((1, 3, 3), bool)
    with pytest.raises(UsageError, match="96x100 pixels"):
        SparK(make_encoder("resnet18", None)).init(key, jnp.zeros((1, 96, 100, 1)), active)
    with pytest.raises(UsageError, match="40 channels; give a multiple of 32"):
        SparK(make_encoder("resnet18", None), width=40).init(key, jnp.zeros((1, 96, 96, 1)), active)


def test_convnext_equals_torch():
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    depths = (1, 2, 1, 1)
    net, x = ConvNeXt(5, depths, width=8), images("convnext", 2)
    template = jax.eval_shape(net.init, jax.random.key(0), x)
    blank = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), template)
    state = {name: weight(name, entry.shape) for name, entry in to_torch(blank).items()}
    given_ = {name: torch.from_numpy(entry) for name, entry in state.items()}

    def of(name):
        return given_[f"{name}.weight"], given_[f"{name}.bias"]

    def norm(h, name):
        return functional.layer_norm(h.movedim(1, -1), h.shape[1:2], *of(name), 1e-6).movedim(-1, 1)

    h = norm(functional.conv2d(torch.from_numpy(np.moveaxis(x, -1, 1)), *of("stem.0"), stride=4), "stem.1")
    for stage, depth in enumerate(depths):
        if stage > 0:
            h = norm(h, f"stages.{stage}.downsample.0")
            h = functional.conv2d(h, *of(f"stages.{stage}.downsample.1"), stride=2)
        for i in range(depth):
            block = f"stages.{stage}.blocks.{i}"
            inner = functional.conv2d(h, *of(f"{block}.conv_dw"), padding=3, groups=h.shape[1])
            inner = functional.linear(norm(inner, f"{block}.norm").movedim(1, -1), *of(f"{block}.mlp.fc1"))
            inner = functional.linear(functional.gelu(inner), *of(f"{block}.mlp.fc2"))
            h = h + (inner * given_[f"{block}.gamma"]).movedim(-1, 1)
    pooled = functional.layer_norm(h.mean((2, 3)), h.shape[1:2], *of("head.norm"), 1e-6)
    expected = functional.linear(pooled, *of("head.fc"))
    assert (
        relative_error(jax.jit(net.apply, compiler_options=QUICK)(from_torch(state, template), x), expected)
        < 1e-4
    )


def test_convnext_has_the_published_size_and_takes_images_of_any():
    for image in (jnp.zeros((1, 96, 96, 1)), jnp.zeros((1, 21, 28, 1))):
        net = make_encoder("convnext_tiny", 1000)
        cond, variables = jax.eval_shape(net.init_with_output, jax.random.key(0), image)
        assert cond.shape == (1, 1000)
        # torchvision's and timm's ConvNeXt-T, less two of three input channels
        assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == 28589128 - 2 * 96 * 16
