"""The autoencoders learn, their losses are what the papers write, and an image's noise is its own."""

import math
from functools import cache

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from golden_arrays import array, relative_error
from hypothesis import given, settings
from hypothesis import strategies as st

from cdm_jax.errors import UsageError
from cdm_jax.models.autoencoder import Autoencoder
from cdm_jax.models.denoising import DenoisingUNet
from cdm_jax.models.vae import VAE
from cdm_jax.noise.coarse import coarse
from cdm_jax.objectives.ae import ae
from cdm_jax.objectives.dae import dae
from cdm_jax.objectives.vae import kl_to_standard_normal, vae
from cdm_jax.train_state import init_state, make_train_step

KEY = jax.random.key(4)
MODELS = {"ae": Autoencoder, "vae": VAE, "dae": DenoisingUNet}
TINY = {
    "ae": Autoencoder(8, (1, 2), latent=8),
    "vae": VAE(8, (1,), latent=8),
    "dae": DenoisingUNet(8, (1, 2)),
}
OBJECTIVES = {
    "ae": lambda model: ae(model, loss="l1"),
    "vae": lambda model: vae(model, loss="l1", kl_weight=0.01),
    "dae": lambda model: dae(model, loss="l2", noise_std=0.2, noise_size=8),
}


def keys(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


@cache
def four_heads() -> dict:
    """A batch of smooth discs in [0.2, 0.8] on black, 24x32 pixels."""
    rows, columns = np.mgrid[:24, :32]
    mask = ((rows - 11.5) ** 2 + (columns - 15.5) ** 2 < 11**2)[None, ..., None].repeat(4, 0)
    smooth = np.clip(0.5 + 0.2 * np.asarray(coarse(keys(4, seed=8), mask.shape)), 0.2, 0.8)
    return {"image": np.where(mask, smooth, 0).astype(np.float32), "mask": mask, "id": np.arange(3, 7)}


def heads(*rows: int) -> dict:
    """Those of `four_heads`, in that order."""
    return {name: jnp.asarray(values[list(rows)]) for name, values in four_heads().items()}


def drawn(model, image) -> dict:
    """Variables like `model.init`'s, from numpy: compiling the initialisation takes longer than training."""
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        if path[-1].key == "kernel":
            return jnp.asarray(
                rng.standard_normal(leaf.shape) / math.prod(leaf.shape[:-1]) ** 0.5, leaf.dtype
            )
        return jnp.full(leaf.shape, path[-1].key == "scale", leaf.dtype)

    return jax.tree.map_with_path(draw, jax.eval_shape(model.init, jax.random.key(0), image))


@cache
def trained(name, steps=50):
    """Losses of Adam steps on two images, and the parameters after."""
    model, batch = TINY[name], heads(0, 1)
    variables = drawn(model, batch["image"])
    optimizer = optax.adam(1e-2)
    step = jax.jit(make_train_step(OBJECTIVES[name](model), optimizer, 0.0))
    state, losses = init_state(variables, optimizer, KEY, images=2), []
    for _ in range(steps):
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"]))
    return losses, {"params": state.params}


@cache
def applied(name, dtype=jnp.float32):
    """(model(image), reconstruction) of the trained model, computed in `dtype`."""
    model, image = TINY[name].clone(dtype=dtype), heads(0, 1)["image"]
    both = jax.jit(lambda variables: (model.apply(variables, image),
                                      model.apply(variables, image, method="reconstruct")))  # fmt: skip
    return both(trained(name)[1])


# Measured: the loss falls by factors of 9, 6 and 30.
@pytest.mark.parametrize(("name", "factor"), [("ae", 5), ("vae", 4), ("dae", 10)])
def test_two_images_are_learnt_and_told_apart(name, factor):
    losses, _ = trained(name)
    assert np.mean(losses[-5:]) < losses[0] / factor
    image_hat, image = np.asarray(applied(name)[1]), np.asarray(heads(0, 1)["image"])
    apart = np.abs(image_hat[:, None] - image).mean(axis=(2, 3, 4))
    assert apart.argmin(axis=1).tolist() == [0, 1]


@pytest.mark.parametrize("name", MODELS)
def test_the_reconstruction_does_not_draw(name):
    output, image_hat = applied(name)
    np.testing.assert_array_equal(image_hat, output[0] if name == "vae" else output)


@pytest.mark.parametrize("name", MODELS)
def test_bfloat16_computes_nearly_the_same_in_float32_arrays(name):
    exact, rounded = (jax.tree.leaves(applied(name, dtype)) for dtype in (jnp.float32, jnp.bfloat16))
    assert {leaf.dtype for leaf in rounded} == {jnp.dtype(jnp.float32)}
    for a, b in zip(exact, rounded, strict=True):
        assert 0 < relative_error(b, a) < 0.05


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("size", [(40, 48), (96, 96)])
def test_defaults_suit_the_paper_and_the_demo(name, size):
    model, image = MODELS[name](), jnp.zeros((2, *size, 1))
    variables = jax.eval_shape(model.init, jax.random.key(0), image)
    found = jax.eval_shape(lambda v: model.apply(v, image, method="reconstruct"), variables)
    assert (found.shape, found.dtype) == (image.shape, jnp.float32)
    assert set(variables) == {"params"}
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}


@pytest.mark.parametrize("name", MODELS)
def test_the_number_of_images_may_stay_open_as_exports_need_it(name):
    model = MODELS[name]()
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((2, 40, 48, 1)))
    image = jax.ShapeDtypeStruct((*jax.export.symbolic_shape("b"), 40, 48, 1), jnp.float32)
    found = jax.eval_shape(lambda v, x: model.apply(v, x, method="reconstruct"), variables, image)
    assert found.shape == image.shape


@pytest.mark.parametrize("name", MODELS)
def test_an_image_that_does_not_halve_is_refused(name):
    with pytest.raises(UsageError, match="20x24 pixels given, both must be multiples of 8"):
        jax.eval_shape(MODELS[name]().init, jax.random.key(0), jnp.zeros((2, 20, 24, 1)))


NUMBERS = st.lists(st.tuples(st.floats(-3, 3), st.floats(-4, 3)), min_size=1, max_size=4)


@settings(max_examples=30, deadline=None)
@given(NUMBERS)
def test_kl_equals_the_integral(numbers):
    """E_q[log q - log p] of every latent by Gauss-Hermite quadrature, exact for a quadratic."""
    mean, log_var = np.array(numbers).T
    nodes, weights = np.polynomial.hermite_e.hermegauss(8)
    z = mean + np.exp(log_var / 2) * nodes[:, None]
    log_q, log_p = -(nodes[:, None] ** 2 + log_var) / 2, -(z**2) / 2
    expected = (weights / weights.sum()) @ (log_q - log_p)
    found = kl_to_standard_normal(jnp.asarray(mean[None]), jnp.asarray(log_var[None]))
    assert found.shape == (1,)
    assert float(found[0]) == pytest.approx(expected.sum(), rel=1e-4, abs=1e-5)


class Answer:
    """Stands for a model: `answer(image, ...)` is its output."""

    latent = 5

    def __init__(self, answer):
        self.answer = answer

    def apply(self, variables, *inputs):
        return self.answer(*inputs)


def losses(objective, batch, train=True):
    return np.asarray(objective({}, {}, batch, KEY, train)[0])


@pytest.mark.parametrize(("loss", "expected"), [("l1", 0.3), ("l2", 0.09)])
def test_the_distance_is_a_mean_over_all_pixels(loss, expected):
    off = Answer(lambda image, train: image + 0.3)
    np.testing.assert_allclose(losses(ae(off, loss=loss), heads(0, 1, 2)), np.full(3, expected), rtol=1e-5)


def test_the_kl_is_counted_per_pixel():
    mean, log_var = jnp.asarray(array("vae:mean", (2, 5))), jnp.asarray(array("vae:log_var", (2, 5)))
    batch, model = heads(0, 1), Answer(lambda image, eps: (image, mean, log_var))
    expected = 0.7 * kl_to_standard_normal(mean, log_var) / (24 * 32)
    np.testing.assert_allclose(losses(vae(model, loss="l1", kl_weight=0.7), batch), expected, rtol=1e-6)


@pytest.mark.parametrize("objective", [ae, vae, dae])
def test_an_unknown_loss_is_refused(objective):
    others = {vae: {"kl_weight": 1.0}, dae: {"noise_std": 0.2, "noise_size": 8}}.get(objective, {})
    with pytest.raises(UsageError, match="choose one of l1, l2"):
        objective(None, loss="l3", **others)


NOISY = {  # objectives whose loss is the size of the noise alone
    "vae": vae(Answer(lambda image, eps: (image + eps.sum(-1)[:, None, None, None], 0 * eps, 0 * eps)),
               loss="l1", kl_weight=1.0),
    "dae": dae(Answer(lambda noised, train: noised), loss="l1", noise_std=0.2, noise_size=8),
}  # fmt: skip


@pytest.mark.parametrize("name", NOISY)
def test_the_noise_of_an_image_follows_its_id(name):
    together, apart = losses(NOISY[name], heads(0, 1, 2, 3)), losses(NOISY[name], heads(2, 0))
    np.testing.assert_array_equal(apart, together[[2, 0]])
    assert len(set(together.tolist())) == 4


def test_the_vae_samples_in_training_only():
    seen = []
    model = Answer(lambda image, eps: seen.append(eps) or (image, jnp.zeros((3, 5)), jnp.zeros((3, 5))))
    for train in (True, False):
        losses(vae(model, loss="l1", kl_weight=1.0), heads(0, 1, 2), train)
    assert seen[0].shape == (3, 5)
    assert seen[1] is None


def test_the_denoiser_is_compared_with_the_clean_image():
    batch = heads(0, 1)
    oracle = Answer(lambda noised, train: batch["image"])
    np.testing.assert_array_equal(losses(dae(oracle, loss="l2", noise_std=0.2, noise_size=8), batch), 0)

    own_keys = jax.vmap(jax.random.fold_in, (None, 0))(KEY, batch["id"])
    eps = 0.2 * coarse(own_keys, batch["image"].shape) * batch["mask"]
    expected = jnp.square(eps).mean(axis=(1, 2, 3))
    idle = dae(Answer(lambda noised, train: noised), loss="l2", noise_std=0.2, noise_size=8)
    for train in (True, False):  # the same noise in validation
        np.testing.assert_allclose(losses(idle, batch, train), expected, rtol=1e-5)
    unmasked = {name: batch[name] for name in ("image", "id")}
    np.testing.assert_allclose(losses(idle, unmasked), expected, rtol=1e-5)


def hat_covariance(cell: int) -> np.ndarray:
    """Covariance at lags 0, 1, ... of unit nodes under hats of half-width `cell`, averaged over shifts."""
    hat = np.maximum(0, 1 - np.abs(np.arange(-cell, cell + 1)) / cell)
    return np.correlate(hat, hat, "full")[2 * cell :] / cell


@pytest.mark.parametrize("cell", [3, 8])
def test_coarse_noise_has_the_covariance_of_its_hats(cell):
    """One lag along each axis at a time, at every pixel of a 20x28 image and over 4000 images."""
    field = np.asarray(coarse(keys(4000), (4000, 20, 28, 1), cell=cell))[..., 0]
    by_lag = np.pad(hat_covariance(cell), (0, 28))
    assert by_lag[0] == pytest.approx(2 / 3 + 1 / (3 * cell**2))
    assert np.abs(field.mean(0)).max() < 0.08
    down, right = (
        np.einsum("nij,nkj->ik", field, field) / (4000 * 28),
        np.einsum("nij,nik->jk", field, field) / (4000 * 20),
    )
    for found, size in ((down, 20), (right, 28)):
        lag = np.abs(np.subtract.outer(np.arange(size), np.arange(size)))
        np.testing.assert_allclose(found, by_lag[0] * by_lag[lag], atol=0.03)


def test_coarse_noise_bends_at_its_nodes_alone_which_every_shift_moves():
    cell, field = 4, np.asarray(coarse(keys(200), (200, 24, 16, 1), cell=4))[..., 0]
    shifts = set()
    for one in field:
        bends = [
            np.unique(np.nonzero(np.abs(np.diff(one, 2, axis=axis)) > 1e-5)[axis] % cell) for axis in (0, 1)
        ]
        assert [len(found) for found in bends] == [1, 1]
        shifts.add((int(bends[0][0]), int(bends[1][0])))
    assert len(shifts) == cell**2


def test_coarse_noise_refuses_a_cell_below_a_pixel():
    with pytest.raises(UsageError, match="give 1 or more"):
        coarse(keys(1), (1, 8, 8, 1), cell=0)
