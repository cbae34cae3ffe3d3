"""The published loading steps, and the law that a result returns to the place it came from."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from golden_arrays import load, relative_error
from hypothesis import given, settings
from hypothesis import strategies as st
from nilearn import datasets
from scipy import ndimage

from cdm_jax.data import grid
from cdm_jax.data import preprocess as steps
from cdm_jax.data.brain_mask import estimate_mask
from cdm_jax.data.intensity import curvature_flow, intensity_range, rescale
from cdm_jax.data.preprocess import Prepared, preprocess
from cdm_jax.data.volume import Volume
from cdm_jax.errors import UsageError, VolumeError

GOLDEN = load("preprocess")
MASK = GOLDEN["mask"] > 0
HALF = {"pad": (40, 48, 20), "crop": (32, 32, 24)}
TILT = nib.eulerangles.euler2mat(0.2, -0.15, 0.25)
GRIDS = {  # name: axes or rotation, spacing, shape
    "RAS": ("RAS", (1, 1, 1), (61, 70, 55)),
    "LPS": ("LPS", (1, 1, 1), (60, 71, 54)),
    "PIR": ("PIR", (1.2, 0.9, 1.1), (70, 54, 61)),
    "SAL": ("SAL", (2, 1, 1.5), (28, 70, 45)),
    "oblique": (TILT @ np.diag([-1, 1, 1]), (0.9, 1.1, 1), (66, 64, 58)),
    "oblique, permuted": (TILT[:, [2, 0, 1]], (1, 1, 1.3), (58, 62, 50)),
    "anisotropic": ("RAS", (1, 1, 3), (64, 70, 20)),
    "coarse": ("LAS", (2.5, 2.5, 2.5), (26, 28, 24)),
}


def volume_of(array, affine) -> Volume:
    spacing = tuple(nib.affines.voxel_sizes(affine))
    return Volume(np.asarray(array, np.float32), affine, spacing, nib.Nifti1Header(), Path("scan.nii.gz"))


def affine_of(axes, spacing, shape):
    """Affine with the given axes whose volume's centre lies at (5, -8, 12) mm."""
    if isinstance(axes, str):
        axes = nib.orientations.inv_ornt_aff(nib.orientations.axcodes2ornt(axes), (1, 1, 1))[:3, :3]
    matrix = axes @ np.diag(spacing)
    return nib.affines.from_matvec(matrix, np.array([5, -8, 12]) - matrix @ (np.array(shape) - 1) / 2)


def world(affine, shape):
    return nib.affines.apply_affine(affine, np.moveaxis(np.indices(shape), 0, -1))


def phantom(xyz):
    """Smooth, with no symmetry, in [0.1, 0.9] or so: a shift of half a voxel anywhere is seen."""
    x, y, z = np.moveaxis(xyz, -1, 0)
    return 0.5 + 0.006 * x - 0.003 * y + 0.004 * z + 0.05 * np.sin(x / 12 + y / 17) * np.cos(z / 14 + 1)


def scan_of(name):
    axes, spacing, shape = GRIDS[name]
    affine = affine_of(axes, spacing, shape)
    return volume_of(phantom(world(affine, shape)), affine)


# --- Golden steps


def test_curvature_flow_is_the_published_one():
    ours = curvature_flow(GOLDEN["volume"], (1, 1, 1))
    assert relative_error(ours, GOLDEN["curvature_flow"]) < 1e-6


def test_finer_voxels_take_more_steps_of_curvature_flow_and_stay_stable():
    rough = np.random.default_rng(0).normal(size=(20, 20, 20)).astype(np.float32)
    smooth = curvature_flow(rough, (0.5, 0.5, 0.5))
    assert smooth.std() < curvature_flow(rough, (1, 1, 1)).std() < rough.std()
    assert np.abs(smooth).max() <= np.abs(rough).max()


@pytest.mark.parametrize("case", HALF)
def test_every_published_step(case):
    target = np.array(GOLDEN["meta"]["targets"][case])
    flow = GOLDEN["curvature_flow"]
    first = np.array([grid.centred(n, t) for n, t in zip(flow.shape, target, strict=True)])
    image, mask = (grid.crop_or_pad(a, first, target) for a in (flow, MASK))
    assert image.shape == tuple(GOLDEN[f"{case}_croppad_shape"])
    np.testing.assert_allclose(image.sum(), GOLDEN[f"{case}_croppad_sum"], rtol=1e-12)
    image = rescale(image, *intensity_range(image, mask))
    rescaled = GOLDEN[f"{case}_rescaled"]  # the padded case stores the sum only
    np.testing.assert_allclose(image if rescaled.ndim else image.sum(), rescaled, atol=1e-6, rtol=1e-6)
    half = grid.resample(image, np.full(3, 0.5), np.full(3, 2.0), HALF[case], order=3)
    assert np.abs(half - GOLDEN[f"{case}_resampled"]).max() < 1e-5
    half_mask = grid.resample(mask, np.full(3, 0.5), np.full(3, 2.0), HALF[case], order=0)
    assert np.array_equal(half_mask, GOLDEN[f"{case}_mask"] > 0)


@pytest.mark.parametrize("case", HALF)
def test_preprocess_equals_the_published_steps(case):
    prepared = preprocess(volume_of(GOLDEN["volume"], np.eye(4)), MASK, shape=HALF[case], centre="image")
    published = np.clip(GOLDEN[f"{case}_resampled"], 0, 1)
    assert np.array_equal(prepared.mask, GOLDEN[f"{case}_mask"] > 0)
    assert np.abs(prepared.image - published)[prepared.mask].max() < 1e-5
    assert not prepared.image[~prepared.mask].any()
    np.testing.assert_allclose(prepared.affine, GOLDEN[f"{case}_affine"], atol=1e-9)


@pytest.mark.parametrize("size", [(1, 1, 1), (0.8, 1.2, 3), (2, 2, 2)])
def test_half_resolution_halves_each_axis_whatever_its_spacing(size):
    scan = volume_of(GOLDEN["volume"], np.diag([*size, 1]))
    prepared = preprocess(scan, MASK, shape=HALF["pad"], centre="image", resolution="half", curvature=False)
    one_mm = volume_of(GOLDEN["volume"], np.eye(4))
    physical = preprocess(one_mm, MASK, shape=HALF["pad"], centre="image", curvature=False)
    assert np.array_equal(prepared.image, physical.image) and np.array_equal(prepared.mask, physical.mask)
    np.testing.assert_allclose(prepared.affine, np.diag([*size, 1]) @ GOLDEN["pad_affine"], atol=1e-9)
    np.testing.assert_allclose(prepared.spacing, 2 * np.array(size), rtol=1e-12)
    np.testing.assert_allclose(physical.spacing, 2, rtol=1e-12)


@pytest.mark.parametrize("name", GRIDS)
def test_half_resolution_keeps_world_positions(name):
    scan = scan_of(name)
    prepared = prepare(scan, shape=(36, 38, 34), resolution="half", centre="image")
    positions = np.moveaxis(world(prepared.affine, prepared.image.shape), -1, 0).astype(np.float32)
    back = np.stack([steps.to_input_grid(p, prepared) for p in positions], -1)
    inside = away_from_faces(scan, 3 * max(scan.spacing))
    assert np.abs(back - world(scan.affine, scan.array.shape))[inside].max() < 1e-3  # mm
    turned = np.take(scan.spacing, np.argsort(nib.io_orientation(scan.affine)[:, 0]))
    np.testing.assert_allclose(prepared.spacing, 2 * turned, rtol=1e-6)


@pytest.mark.parametrize(
    "length, size, first", [(70, 80, -5), (84, 64, 10), (71, 80, -5), (85, 64, 11), (9, 9, 0)]
)
def test_centring_rounds_halves_away_from_zero_as_published(length, size, first):
    assert grid.centred(length, size) == first
    assert grid.centred(length, size + 1e-6) == first  # an affine's float32 noise


# --- The way there and back


def prepare(scan, mask=None, shape=(42, 42, 42), **options) -> Prepared:
    mask = np.ones(scan.array.shape, bool) if mask is None else mask
    return preprocess(scan, mask, shape=shape, curvature=False, **options)


@pytest.mark.parametrize("name", GRIDS)
def test_model_voxels_show_what_lies_at_their_world_position(name):
    scan = scan_of(name)
    prepared = prepare(scan)
    seen = steps.to_input_intensity(prepared.image, prepared)
    truth = phantom(world(prepared.affine, prepared.image.shape)).clip(prepared.low, prepared.high)
    interior = ndimage.binary_erosion(prepared.mask, iterations=4)  # published zero padding rings at the edge
    assert interior.sum() > 3_000
    assert np.abs(seen - truth)[interior].max() < 0.01 * (prepared.high - prepared.low)
    assert nib.aff2axcodes(prepared.affine) == ("R", "A", "S")
    np.testing.assert_allclose(nib.affines.voxel_sizes(prepared.affine), 2, rtol=1e-6)


def away_from_faces(scan, mm):
    """Voxels of the scan at least `mm` inside each of its faces."""
    shape = scan.array.shape
    depth = [
        np.minimum(i, n - 1 - i) * s for i, n, s in zip(np.indices(shape), shape, scan.spacing, strict=True)
    ]
    return np.min(depth, axis=0) >= mm


@pytest.mark.parametrize("order, margin", [(1, 8), (3, 10)])
@pytest.mark.parametrize("name", GRIDS)
def test_a_smooth_volume_returns_to_its_grid(name, order, margin):
    scan = scan_of(name)
    prepared = prepare(scan)
    back = steps.to_input_intensity(steps.to_input_grid(prepared.image, prepared, order), prepared)
    assert back.shape == scan.array.shape and back.dtype == np.float32
    truth = scan.array.clip(prepared.low, prepared.high)
    lost = np.abs(back - truth)[away_from_faces(scan, margin)].max()
    assert lost < 0.005 * (prepared.high - prepared.low)


@pytest.mark.parametrize("name", GRIDS)
def test_values_inside_a_mask_do_not_fade_at_its_rim(name):
    scan = scan_of(name)
    brain = np.linalg.norm(world(scan.affine, scan.array.shape) - [5, -8, 12], axis=-1) < 24
    prepared = prepare(scan, brain)
    truth = np.where(brain, scan.array.clip(prepared.low, prepared.high), 0)
    masked, plain = (f(prepared.image, prepared) for f in (steps.masked_to_input_grid, steps.to_input_grid))
    covered = brain & (masked != 0) & (truth > prepared.low)
    assert covered.sum() > 0.98 * brain.sum()
    lost, faded = (
        np.abs(steps.to_input_intensity(x, prepared) - truth)[covered].max() for x in (masked, plain)
    )
    assert lost < 0.08 * (prepared.high - prepared.low) < faded


@settings(max_examples=25, deadline=None)
@given(
    st.permutations(range(3)),
    st.tuples(*[st.sampled_from([-1, 1])] * 3),
    st.tuples(*[st.floats(-0.5, 0.5)] * 3),
    st.tuples(*[st.floats(0.8, 2.2)] * 3),
    st.sampled_from([1.5, 2.0, 3.0]),
    st.tuples(*[st.integers(24, 34)] * 3),
)
def test_any_grid_keeps_world_positions(order, signs, angles, spacing, model_spacing, shape):
    axes = nib.eulerangles.euler2mat(*angles) @ np.eye(3)[:, order] @ np.diag(signs)
    affine = affine_of(axes, spacing, shape)
    scan = volume_of(phantom(world(affine, shape)), affine)
    prepared = prepare(scan, spacing=model_spacing, shape=(20, 22, 18))
    positions = np.moveaxis(world(prepared.affine, prepared.image.shape), -1, 0)
    back = np.stack([steps.to_input_grid(p.astype(np.float32), prepared) for p in positions], -1)
    ones = np.pad(np.ones((18, 20, 16), bool), 1)  # the outermost model voxels extrapolate
    reached = steps.to_input_grid(ones, prepared, 0)
    assert reached.sum() > 100
    assert np.abs(back - world(affine, shape))[reached].max() < 1e-3  # mm


def test_a_box_smaller_than_the_scan_leaves_zeros_around_it():
    scan = scan_of("PIR")
    prepared = prepare(scan, shape=(16, 18, 14))
    back = steps.to_input_grid(np.ones((16, 18, 14), np.float32), prepared)
    np.testing.assert_allclose(back.sum() * np.prod(scan.spacing), 16 * 18 * 14 * 8, rtol=0.05)
    assert (np.abs(back - (back > 0)) < 1e-5).all()


def distance_of_centres(a, affine_a, b, affine_b):
    centres = [nib.affines.apply_affine(f, np.argwhere(x).mean(0)) for x, f in ((a, affine_a), (b, affine_b))]
    return np.linalg.norm(centres[0] - centres[1])


@pytest.mark.parametrize("name", GRIDS)
def test_nearest_labels_return_to_where_they_were(name):
    scan = scan_of(name)
    lesion = np.linalg.norm(world(scan.affine, scan.array.shape) - [15, -14, 9], axis=-1) < 11
    prepared = prepare(scan)
    model = steps.to_model_grid(lesion, prepared, order=0)
    assert model.dtype == bool
    assert distance_of_centres(model, prepared.affine, lesion, scan.affine) < 1.1  # ties go up, as published
    back = steps.to_input_grid(model, prepared, order=0)
    assert back.dtype == bool
    assert 2 * (back & lesion).sum() / (back.sum() + lesion.sum()) > 0.9


@pytest.mark.parametrize("name", GRIDS)
def test_fractions_keep_the_volume_of_a_label(name):
    scan = scan_of(name)
    lesion = np.linalg.norm(world(scan.affine, scan.array.shape) - [15, -14, 9], axis=-1) < 11
    prepared = prepare(scan)
    fraction = steps.to_model_fraction(lesion, prepared)
    assert fraction.min() >= 0 and fraction.max() <= 1 + 1e-6
    np.testing.assert_allclose(fraction.sum() * 8, lesion.sum() * np.prod(scan.spacing), rtol=1e-4)
    assert distance_of_centres(fraction >= 0.5, prepared.affine, lesion, scan.affine) < 0.3


def test_fractions_at_an_integer_ratio_are_block_means():
    scan = volume_of(np.random.default_rng(0).random((8, 12, 16)), np.eye(4))
    prepared = prepare(scan, shape=(2, 3, 4), spacing=4.0)
    blocks = scan.array.reshape(2, 4, 3, 4, 4, 4).mean((1, 3, 5))
    np.testing.assert_allclose(steps.to_model_fraction(scan.array, prepared), blocks, rtol=1e-5)


def test_antialiasing_removes_what_the_coarse_grid_cannot_hold():
    stripes = (-1.0) ** np.arange(48)[:, None, None] + np.random.default_rng(0).normal(size=(48, 48, 48))
    scan = volume_of(stripes, np.eye(4))
    plain, smooth = (prepare(scan, spacing=6.0, shape=(8, 8, 8), antialias=a) for a in (False, True))
    assert smooth.image.std() < 0.2 * plain.image.std()


def test_the_box_is_centred_on_the_mask():
    scan = volume_of(np.random.default_rng(0).random((60, 60, 60)), np.diag([1, 1, 1, 1.0]))
    mask = np.zeros((60, 60, 60), bool)
    mask[2:22, 30:50, 35:55] = True
    prepared = prepare(scan, mask, shape=(16, 16, 16))
    np.testing.assert_array_equal(prepared.affine[:3, 3], [11.5 - 15, 39.5 - 15, 44.5 - 15])
    assert prepared.mask.sum() * 8 == mask.sum()
    assert prepared.image.min() == 0 and 0.9 < prepared.image.max() <= 1


def test_results_repeat_exactly():
    scan = volume_of(GOLDEN["volume"], np.eye(4))
    first, second = (preprocess(scan, MASK, shape=(40, 48, 20)) for _ in range(2))
    assert np.array_equal(first.image, second.image)


@pytest.mark.parametrize(
    "mask, text, code",
    [
        (np.zeros((70, 84, 44), bool), "mask is empty", "empty-mask"),
        (np.ones((70, 84, 43), bool), "its mask has", "shape-mismatch"),
        (GOLDEN["volume"] == 0, "constant", "constant"),
    ],
)
def test_a_useless_mask_is_one_line_that_begins_with_the_path(mask, text, code):
    scan = volume_of(GOLDEN["volume"], np.eye(4))
    with pytest.raises(VolumeError, match=f"^scan.nii.gz: .*{text}") as caught:
        preprocess(scan, mask, shape=(40, 48, 20), curvature=False)
    assert caught.value.code == code


def test_a_mask_beyond_the_box_is_refused():
    mask = np.zeros(MASK.shape, bool)
    mask[:2] = True
    with pytest.raises(VolumeError, match="misses the model's grid"):
        preprocess(volume_of(GOLDEN["volume"], np.eye(4)), mask, shape=(8, 8, 8), centre="image")


def test_an_unknown_choice_lists_the_known_ones():
    with pytest.raises(UsageError, match="image, mask"):
        preprocess(volume_of(GOLDEN["volume"], np.eye(4)), MASK, centre="brain")
    with pytest.raises(UsageError, match="half, physical"):
        preprocess(volume_of(GOLDEN["volume"], np.eye(4)), MASK, resolution="double")


# --- A mask where none is given


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.fixture(scope="module")
def mni():
    template = datasets.load_mni152_template(resolution=2)
    brain = datasets.load_mni152_brain_mask(resolution=2).get_fdata() > 0
    return volume_of(template.get_fdata(), template.affine), brain


def test_the_mask_of_a_stripped_brain(mni):
    scan, brain = mni
    assert dice(estimate_mask(scan), brain) > 0.98


@pytest.mark.parametrize("value", [-1.0, 50.0])
def test_the_background_of_a_stripped_brain_need_not_be_zero(mni, value):
    scan, brain = mni
    moved = volume_of(np.where(scan.array < 1e-6, value, scan.array), scan.affine)
    assert dice(estimate_mask(moved), brain) > 0.98


def test_the_foreground_of_a_noisy_scan(mni):
    scan, brain = mni
    noise = 0.05 * np.random.default_rng(0).normal(size=scan.array.shape)
    assert dice(estimate_mask(volume_of(np.abs(scan.array + noise), scan.affine)), brain) > 0.95


def test_preprocess_estimates_the_mask_that_is_missing(mni):
    scan, brain = mni
    estimated, given_mask = (preprocess(scan, m, spacing=4.0, shape=(48, 48, 36)) for m in (None, brain))
    assert dice(estimated.mask, given_mask.mask) > 0.95


def test_only_the_largest_component_is_brain():
    array = np.zeros((20, 20, 20))
    array[2:12, 2:12, 2:12] = 1
    array[5:8, 5:8, 5:8] = 0  # a hole
    array[15:18, 15:18, 15:18] = 2
    expected = np.zeros((20, 20, 20), bool)
    expected[2:12, 2:12, 2:12] = True
    assert np.array_equal(estimate_mask(volume_of(array, np.eye(4))), expected)
    assert estimate_mask(volume_of(array + 0.0, np.eye(4))).dtype == bool


def test_voxels_too_small_to_hold_are_refused_before_they_get_memory():
    array = np.ones((20, 20, 20), np.float32)
    scan = volume_of(array, affine_of("RAS", (0.02, 0.02, 0.02), array.shape))
    with pytest.raises(VolumeError, match="GB of voxels this small.*resample it") as caught:
        preprocess(scan, array > 0)
    assert caught.value.code == "too-large"
