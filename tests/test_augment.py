"""Augmented slices are TorchIO's, and every image is augmented from its own key."""

from functools import cache, partial, reduce

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_arrays import array, load, relative_error
from hypothesis import given, settings
from hypothesis import strategies as st

from cdm_jax.data.augment import make_augment
from cdm_jax.data.augment.bias_field import bias_field, draw_bias_field
from cdm_jax.data.augment.blur import blur, draw_blur
from cdm_jax.data.augment.gamma import draw_gamma, gamma
from cdm_jax.data.augment.ghosting import draw_ghosting, ghosting
from cdm_jax.errors import UsageError

GOLDEN = load("torchio_augment")
CASES = [(effect, i) for effect, cases in GOLDEN["meta"]["cases"].items() for i in range(len(cases))]
EFFECTS = ("gamma", "bias_field", "blur", "ghosting")
PUBLISHED = {
    "gamma": 0.5,
    "log_gamma": 0.3,
    "bias_field": 0.25,
    "bias_coefficients": 0.5,
    "blur": 0.25,
    "blur_std": 2.0,
    "ghosting": 0.5,
    "ghosts": (4, 10),
    "ghost_intensity": (0.5, 1.0),
}
MESH = jax.make_mesh((8,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
OVER_DEVICES = jax.NamedSharding(MESH, jax.P("batch"))
KEYS = jax.device_put(jax.random.split(jax.random.key(0), 512), OVER_DEVICES)
IMAGES = jax.device_put(array("augment", (512, 16, 12, 1), "uniform"), OVER_DEVICES)


def augment_with(**changed):
    return make_augment(**PUBLISHED | changed)


def compiled(augment):
    return jax.jit(augment, out_shardings=OVER_DEVICES).lower(KEYS, IMAGES).compile()


@cache
def published():
    """All effects, for a batch of 512 over 8 devices."""
    return compiled(augment_with())


@cache
def alone(effect: str):
    """One effect alone, as often as published."""
    return compiled(augment_with(**{name: 0.0 for name in EFFECTS if name != effect}))


@partial(jax.jit, static_argnames=("effect", "restore"))
def ours(effect, image, log_gamma=None, coefficients=None, z=None, std=None, restore=None, **ghosts):
    if effect == "gamma":
        return gamma(image, log_gamma)
    if effect == "bias_field":
        return bias_field(image, coefficients, z)
    if effect == "blur":
        return blur(image, std)
    return ghosting(image, **ghosts, restore=restore)


def with_arrays(volume, slice, depth, coefficients=None, std=None, **case):
    """Parameters of a case as `ours` takes them: arrays, and the slice's place as z."""
    if coefficients:
        return {"coefficients": jnp.array(coefficients), "z": 2 * slice / max(depth - 1, 1) - (depth > 1)}
    return {"std": jnp.array(std)} if std else case


@pytest.mark.parametrize(("effect", "i"), CASES)
def test_it_is_the_slice_of_torchios_volume(effect, i):
    case, expected = GOLDEN["meta"]["cases"][effect][i], GOLDEN[f"{effect}_{i}"]
    volume = GOLDEN[case["volume"]]
    image = volume[..., case["slice"]]
    found = ours(effect, image[..., None], **with_arrays(**case, depth=volume.shape[2]))
    assert relative_error(found[..., 0], expected) < 2e-6
    assert relative_error(image, expected) > 1e-2  # and the case does something


@pytest.mark.parametrize(
    ("effect", "parameters"),
    [
        ("gamma", {"log_gamma": 0.0}),
        ("bias_field", {"coefficients": np.zeros(20, np.float32), "z": 0.3}),
        ("blur", {"std": np.zeros(2, np.float32)}),
        ("ghosting", {"count": 4, "axis": 0, "intensity": 0.0}),
        ("ghosting", {"count": 4, "axis": 1, "intensity": 1.0, "restore": 1.0}),
    ],
)
def test_an_effect_of_no_strength_is_the_identity(effect, parameters):
    image = GOLDEN["even"][..., :1]
    np.testing.assert_allclose(ours(effect, image, **parameters), image, rtol=1e-6, atol=1e-7)


def test_probabilities_of_zero_leave_no_work():
    none = augment_with(**dict.fromkeys(EFFECTS, 0.0))
    assert none(KEYS, IMAGES) is IMAGES
    assert not compiled(none).cost_analysis().get("flops")


@pytest.mark.parametrize("effect", EFFECTS)
def test_an_effect_is_as_frequent_as_asked(effect):
    altered = np.any(alone(effect)(KEYS, IMAGES) != IMAGES, axis=(1, 2, 3))
    p = PUBLISHED[effect]
    assert abs(altered.mean() - p) < 4 * np.sqrt(p * (1 - p) / len(KEYS))


def test_effects_follow_in_the_published_order_and_draw_apart():
    one_by_one = reduce(lambda images, effect: alone(effect)(KEYS, images), EFFECTS, IMAGES)
    np.testing.assert_allclose(published()(KEYS, IMAGES), one_by_one, rtol=1e-5, atol=1e-6)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31))
def test_an_image_does_not_see_its_neighbours(seed):
    order = np.random.default_rng(seed).permutation(len(IMAGES))
    keys, images = (jax.device_put(a[order], OVER_DEVICES) for a in (KEYS, IMAGES))
    np.testing.assert_array_equal(published()(keys, images), published()(KEYS, IMAGES)[order])


def test_a_part_of_a_batch_on_one_device_is_augmented_as_in_the_whole():
    keys, images = (jax.device_put(a[3:8], jax.devices()[0]) for a in (KEYS, IMAGES))
    part = jax.jit(augment_with())(keys, images)
    np.testing.assert_allclose(part, published()(KEYS, IMAGES)[3:8], rtol=1e-5, atol=1e-6)


def test_a_batch_over_devices_stays_on_them():
    text = published().as_text()
    assert "num_partitions=8" in text
    assert not [word for word in ("all-gather", "all-reduce", "all-to-all") if word in text]


def test_a_traced_effect_is_the_eager_one():
    image, log_gamma = GOLDEN["even"][..., :1], jnp.float32(-0.2)
    np.testing.assert_allclose(ours("gamma", image, log_gamma), gamma(image, log_gamma), rtol=1e-6)


def test_no_gradient_passes():
    image = jnp.zeros_like(IMAGES)  # where |x|^g has no derivative
    gradient = jax.jit(jax.grad(lambda image: augment_with()(KEYS, image).sum()))(image)
    np.testing.assert_array_equal(gradient, 0)


def test_parameters_are_drawn_from_the_published_ranges():
    def draw(key):
        return draw_gamma(key), *draw_bias_field(key), draw_blur(key, 2.0), *draw_ghosting(key)

    keys = jax.random.split(jax.random.key(1), 4096)
    log_gamma, coefficients, z, std, count, axis, intensity = jax.jit(jax.vmap(draw))(keys)
    uniform = (log_gamma, -0.3, 0.3), (coefficients, -0.5, 0.5), (z, -1, 1), (std, 0, 2), (intensity, 0.5, 1)
    for values, low, high in uniform:
        inside, _ = np.histogram(values, bins=4, range=(low, high))
        np.testing.assert_allclose(inside / values.size, 0.25, atol=0.03)
    np.testing.assert_allclose(np.bincount(count, minlength=11) / 4096, [0] * 4 + [1 / 7] * 7, atol=0.03)
    np.testing.assert_allclose(np.bincount(axis) / 4096, [0.5, 0.5], atol=0.03)


@pytest.mark.parametrize(
    "wrong",
    [{"blur": 1.5}, {"log_gamma": -0.3}, {"ghosts": (10, 4)}, {"ghosts": (0, 4)}, {"gamma": float("nan")}],
)
def test_settings_out_of_range_are_named(wrong):
    with pytest.raises(UsageError, match=f"augment.{next(iter(wrong))} "):
        augment_with(**wrong)


def test_one_key_for_a_batch_is_refused():
    with pytest.raises(ValueError, match="512 images need 512 typed keys"):
        augment_with()(KEYS[0], IMAGES)
