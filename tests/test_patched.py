"""Does the patched model noise, score and reconstruct box by box, as the published one does?"""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_arrays import array, load, nhwc, relative_error
from golden_models import golden_unet, golden_variables
from hypothesis import given, settings
from hypothesis import strategies as st

from cdm_jax.diffusion import q_sample, to_model_range, to_unit_range
from cdm_jax.errors import UsageError
from cdm_jax.models.cddpm import CDDPM
from cdm_jax.noise import gaussian
from cdm_jax.objectives.noising import p2_weight
from cdm_jax.objectives.patched import draw_boxes, patched
from cdm_jax.patches import grid_boxes, inside, patchwise, stitch, within
from cdm_jax.reconstruct import make_reconstruct
from cdm_jax.samplers import SAMPLERS
from cdm_jax.schedule import make_schedule

GOLDEN = load("patched_ddpm")
BOXES = GOLDEN["boxes"][0]  # the same for every image
SCHEDULE = make_schedule()
IMAGE = jnp.asarray(nhwc(array("loss:x0", (4, 1, 32, 32), "uniform")))
EPS = jnp.asarray(nhwc(array("loss:noise", (4, 1, 32, 32))))
KEYS = jax.random.split(jax.random.key(0), 4)
QUICK = {"xla_backend_optimization_level": 0}  # to compile, not to run
LOSS = {"prediction": "x0", "loss": "l1", "p2_gamma": 0.0, "shared": True, "size": 16, "overlap": 0}
SAMPLING = {"prediction": "x0", "size": 16, "overlap": 0, "stitch": "cut", "t_starts": (500,), "draws": 1}


def noise(key, shape):
    return EPS


class Model:
    """Stands for a model: predict(image, x_t, t), and the whole image as its condition."""

    def __init__(self, predict):
        self.predict = predict

    def apply(self, variables, *inputs, method=None, mutable=(), rngs=None):
        if method == "encode":
            output = inputs[0]
        else:
            x_t, t, image = inputs[:3]
            output = self.predict(image, x_t, t)
        return (output, {}) if mutable else output


@cache
def golden():
    """The published UNet without an encoder, and its variables."""
    network = golden_unet(GOLDEN["meta"]["unet"])
    variables = golden_variables(network, IMAGE, jnp.zeros(4, jnp.int32))
    return CDDPM(network), {"params": {"unet": variables["params"]}}


def batch_in(box):
    """The golden images at t = 499, each in the same box."""
    return {"image": IMAGE, "id": jnp.arange(4), "t": jnp.full(4, 499), "box": jnp.tile(box, (4, 1))}


def losses_in(model, box, **changed):
    return patched(model, SCHEDULE, noise, **(LOSS | changed))({}, {}, batch_in(box), KEYS[0])[0]


# The published numbers


def patched_reconstruct(model, schedule, noise, *, size, overlap, stitch, **settings):
    """As the patched method is built: the ensemble for every box."""
    by_box = patchwise(SAMPLERS["ensemble"], size=size, overlap=overlap, mode=stitch)
    return make_reconstruct(model, schedule, noise, by_box, **settings)


def test_the_grid_is_the_published_one():
    np.testing.assert_array_equal(grid_boxes(32, 32, 16), BOXES)


def test_the_loss_in_every_box_equals_the_published_one():
    model, variables = golden()
    objective = jax.jit(patched(model, SCHEDULE, noise, **LOSS), static_argnums=4, compiler_options=QUICK)
    for number, box in enumerate(BOXES):
        losses, _ = objective(variables["params"], {}, batch_in(box), KEYS[0], True)
        assert float(losses.mean()) == pytest.approx(float(GOLDEN[f"loss_box{number}"]), rel=1e-5)


def test_the_reconstruction_of_every_box_and_their_stitching_equal_the_published_ones():
    model, variables = golden()
    reconstruct = patched_reconstruct(model, SCHEDULE, noise, **SAMPLING)
    stitched = jax.jit(reconstruct, compiler_options=QUICK)(variables, KEYS, IMAGE)
    assert relative_error(stitched, nhwc(GOLDEN["reco_stitched"])) < 1e-5
    for number, box in enumerate(BOXES):
        of_box = jnp.where(inside(box, 32, 32), stitched, IMAGE)
        assert relative_error(of_box, nhwc(GOLDEN[f"reco_box{number}"])) < 1e-5


# The loss


def test_only_the_box_is_noised_and_only_the_box_is_scored():
    box, x0 = jnp.array([3, 5, 19, 21]), to_model_range(IMAGE)
    mask = np.zeros((1, 32, 32, 1), bool)
    mask[:, 5:21, 3:19] = True
    right_inside = Model(lambda image, seen, t: jnp.where(mask, x0, 7.0))
    np.testing.assert_array_equal(losses_in(right_inside, box), np.zeros(4))
    x_t = q_sample(SCHEDULE, x0, jnp.full(4, 499), EPS)
    off_by_half = Model(lambda image, seen, t: x0 + (seen - x_t) + 0.5)
    np.testing.assert_allclose(losses_in(off_by_half, box), np.full(4, 0.5 * mask.mean()), rtol=1e-5)
    neighbours = Model(lambda image, seen, t: x0 + jnp.roll(seen - x0, 16, axis=2))
    np.testing.assert_array_equal(losses_in(neighbours, box), np.zeros(4))


def test_the_encoder_sees_the_whole_clean_image_and_the_loss_its_weight():
    conditioned = Model(lambda image, x_t, t: to_model_range(image) + 1)
    expected = np.full(4, 0.25 * p2_weight(SCHEDULE, 499, 0.5))
    np.testing.assert_allclose(losses_in(conditioned, BOXES[2], p2_gamma=0.5), expected, rtol=1e-5)


def test_the_box_of_an_image_does_not_depend_on_its_batch():
    key, ids = jax.random.key(1), jnp.arange(40)
    drawn = np.asarray(draw_boxes(key, ids, BOXES))
    np.testing.assert_array_equal(draw_boxes(key, ids[::-1], BOXES), drawn[::-1])
    assert len(np.unique(drawn, axis=0)) == 4
    assert np.any(draw_boxes(jax.random.key(2), ids, BOXES) != drawn)


def test_without_a_given_box_the_drawn_one_is_scored():
    key, marks = jax.random.key(1), jnp.stack([inside(box, 32, 32) for box in BOXES])
    batch = {"image": IMAGE, "id": jnp.arange(4)}
    # Errors of 1, 2, 3 and 4 in the four boxes tell which of them is scored.
    error = sum((n + 1) * mark for n, mark in enumerate(marks))
    model = Model(lambda image, x_t, t: to_model_range(image) + error)
    losses, _ = patched(model, SCHEDULE, noise, **LOSS)({}, {}, batch, key)
    numbers = [int(np.flatnonzero((box == BOXES).all(1))[0]) for box in draw_boxes(key, batch["id"], BOXES)]
    np.testing.assert_allclose(losses, (1 + np.array(numbers)) / 4, rtol=1e-5)


# The reconstruction


def reconstructed(predict, key=KEYS, noise=noise, **changed):
    return patched_reconstruct(Model(predict), SCHEDULE, noise, **(SAMPLING | changed))({}, key, IMAGE)


@pytest.mark.parametrize("mode", ["cut", "average"])
@pytest.mark.parametrize("overlap", [0, 5])
def test_an_oracle_gives_back_the_image(mode, overlap):
    settings = {"stitch": mode, "overlap": overlap, "t_starts": (250, 750), "draws": 2}
    found = reconstructed(lambda image, x_t, t: to_model_range(image), noise=gaussian, **settings)
    np.testing.assert_allclose(found, IMAGE, atol=1e-6)


def test_the_levels_and_the_noise_are_those_of_the_ensemble():
    found = reconstructed(lambda image, x_t, t: x_t, t_starts=(100, 600))
    levels = [q_sample(SCHEDULE, to_model_range(IMAGE), jnp.full(4, n - 1), EPS) for n in (100, 600)]
    np.testing.assert_allclose(found, to_unit_range(sum(levels) / 2), atol=1e-5)


def test_every_box_sees_its_neighbours_clean():
    found = reconstructed(lambda image, x_t, t: jnp.roll(x_t, 16, axis=2))
    np.testing.assert_allclose(found, jnp.roll(IMAGE, 16, axis=2), atol=1e-6)


def test_outside_its_box_a_denoiser_sees_and_leaves_the_clean_image():
    x0, mask = to_model_range(IMAGE), inside(BOXES[1], 32, 32)
    found = within(lambda x_t, t: x_t + t, x0, mask)(EPS, 7)
    np.testing.assert_array_equal(found, jnp.where(mask, EPS + 7, x0))


# The boxes

SIZES = st.tuples(st.integers(1, 24), st.integers(1, 24)).flatmap(
    lambda sides: st.tuples(st.just(sides), st.integers(1, min(sides)))
)
GRIDS = SIZES.flatmap(lambda s: st.tuples(st.just(s[0]), st.just(s[1]), st.integers(0, s[1] - 1)))


def covered_by(boxes, height, width):
    """How many boxes cover each pixel, by slicing."""
    count = np.zeros((height, width), int)
    for x0, y0, x1, y1 in boxes:
        count[y0:y1, x0:x1] += 1
    return count


@settings(max_examples=200, deadline=None)
@given(GRIDS)
def test_boxes_lie_inside_and_cover_every_pixel(grid):
    (height, width), size, overlap = grid
    boxes = grid_boxes(height, width, size, overlap)
    assert (boxes[:, 2:] - boxes[:, :2] == size).all()
    assert (boxes >= 0).all() and (boxes[:, 2] <= width).all() and (boxes[:, 3] <= height).all()
    assert (covered_by(boxes, height, width) > 0).all()
    assert len(np.unique(boxes, axis=0)) == len(boxes)


def test_neighbours_share_the_overlap_and_the_last_box_is_moved_inside():
    assert grid_boxes(8, 20, 8, 2)[:, 0].tolist() == [0, 6, 12]
    assert grid_boxes(8, 19, 8, 2)[:, 0].tolist() == [0, 6, 11]


STITCH = jax.jit(stitch, static_argnums=2)


@settings(max_examples=20, deadline=None)
@given(st.integers(6, 11), st.integers(0, 10), st.sampled_from(["cut", "average"]))
def test_identical_images_are_stitched_to_themselves(size, overlap, mode):
    boxes = grid_boxes(12, 12, size, min(overlap, 2 * size - 12))
    image = array("stitch", (2, 12, 12, 1))
    found = STITCH(np.broadcast_to(image, (4, *image.shape)), boxes, mode)  # always two by two boxes
    np.testing.assert_allclose(found, image, rtol=1e-6)


@pytest.mark.parametrize(("mode", "shared"), [("cut", 0.0), ("average", 0.5)])
def test_a_shared_pixel_is_the_first_box_s_or_the_mean(mode, shared):
    boxes = grid_boxes(4, 7, 4, 1)
    images = jnp.broadcast_to(jnp.arange(2.0)[:, None, None, None, None], (2, 1, 4, 7, 1))
    found = STITCH(images, boxes, mode)
    np.testing.assert_array_equal(found[0, 2, :, 0], [0, 0, 0, shared, 1, 1, 1])


def test_a_traced_box_marks_what_slicing_marks():
    boxes = grid_boxes(6, 9, 4, 1)
    marks = jax.jit(jax.vmap(lambda box: inside(box, 6, 9)))(boxes)
    assert marks.dtype == bool and marks.shape == (len(boxes), 6, 9, 1)
    for box, mark in zip(boxes, marks, strict=True):
        np.testing.assert_array_equal(mark[..., 0], covered_by([box], 6, 9) == 1)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"size": 40}, "boxes of 40 pixels do not fit: give 1 ... 32"),
        ({"overlap": 16}, "cannot overlap by 16: give 0 ... 15"),
        ({"stitch": "blend"}, "unknown stitch 'blend': choose one of average, cut"),
        ({"t_starts": ()}, "at least one of t_starts"),
    ],
)
def test_bad_settings_are_refused(changed, message):
    with pytest.raises(UsageError, match=message):
        reconstructed(lambda image, x_t, t: x_t, **changed)
