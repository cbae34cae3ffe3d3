"""Is the embedded cohort reproducible, anatomically sound and hard enough?"""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from sklearn.metrics import average_precision_score, roc_auc_score

from cdm_jax.data.datasets import load
from cdm_jax.data.phantom import load_anatomy, make_subject, write_cohort
from cdm_jax.data.phantom.fields import SHAPE, STREAMS, generator, smooth_field
from cdm_jax.data.phantom.geometry import ORIENTATIONS, Grid, draw_grid, sample, store
from cdm_jax.data.phantom.lesions import Lesion, displace, lesion_share
from cdm_jax.data.phantom.subject import subject_age
from cdm_jax.data.phantom.tissue import MODALITIES
from cdm_jax.errors import UsageError

SEED = 7
SPLITS = {"train": 2, "val": 1, "test_healthy": 1, "val_patients": 1, "test_patients": 1}


@pytest.fixture(scope="module")
def anatomy():
    return load_anatomy()


@pytest.fixture(scope="module")
def patients(anatomy):
    return [make_subject(anatomy, SEED, index, lesions=True) for index in range(len(ORIENTATIONS))]


@pytest.fixture(scope="module")
def healthy(anatomy):
    return [make_subject(anatomy, SEED, index, lesions=False) for index in range(len(ORIENTATIONS))]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort")
    calls = []
    write_cohort(
        folder,
        seed=SEED,
        **SPLITS,
        progress=lambda done, total: calls.append((done, total, (folder / "splits").exists())),
    )
    return folder, calls


# Random numbers and fields


@settings(max_examples=20, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 20)] * 3),
    spacing=st.floats(1.0, 30.0),
    seed=st.integers(-(2**70), 2**70),
    index=st.integers(0, 2**40),
)
def test_smooth_field_has_any_shape_and_depends_on_its_generator_alone(shape, spacing, seed, index):
    first, second = (smooth_field(generator(seed, index, SHAPE), shape, spacing) for _ in range(2))
    assert first.shape == shape and first.dtype == np.float32
    assert np.isfinite(first).all() and np.array_equal(first, second)


def test_smooth_field_has_unit_variance_everywhere_and_is_smooth():
    fields = np.stack([smooth_field(generator(0, index, SHAPE), (9, 8, 7), 3.0) for index in range(800)])
    assert np.abs(fields.mean(axis=0)).max() < 0.2
    assert np.abs(fields.var(axis=0) - 1).max() < 0.3
    neighbours = (fields[:, 1:] * fields[:, :-1]).mean()
    apart = (fields[:, :1] * fields[:, -1:]).mean()
    assert neighbours > 0.9 and abs(apart) < 0.1


def test_streams_seeds_and_subjects_are_all_different():
    keys = [(seed, index, stream) for seed in (0, 1) for index in (0, 1) for stream in STREAMS]
    assert len({generator(*key).integers(2**63) for key in keys}) == len(keys)


# Geometry


@settings(max_examples=20, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 6)] * 3), codes=st.sampled_from(sorted({*ORIENTATIONS, "SRP", "IPL"}))
)
def test_store_turns_the_array_but_moves_no_voxel_in_the_world(shape, codes):
    volume = np.arange(np.prod(shape)).reshape(shape)
    affine = nib.affines.from_matvec([[2, 0.2, 0], [-0.2, 2, 0.1], [0, -0.1, 2]], [3, -5, 7])
    stored, moved = store(volume, affine, codes)
    assert nib.aff2axcodes(moved) == tuple(codes)
    place = np.argwhere(stored == volume.flat[-1])[0]
    np.testing.assert_allclose(
        nib.affines.apply_affine(moved, place), nib.affines.apply_affine(affine, np.array(shape) - 1)
    )
    back, again = store(stored, moved, "RAS")
    assert np.array_equal(back, volume)
    np.testing.assert_allclose(again, affine, atol=1e-12)


def test_every_storage_orientation_puts_the_brain_at_the_same_place(anatomy, healthy):
    """Dice of each mask with the MNI152 mask in world space; upside-down or back-to-front it falls."""
    for index, (image, mask, _, affine) in enumerate(healthy):
        codes = nib.aff2axcodes(affine)
        assert "".join(codes) == ORIENTATIONS[index]
        points = np.moveaxis(np.indices(mask.shape), 0, -1)
        in_template = nib.affines.apply_affine(np.linalg.inv(anatomy.affine) @ affine, points)
        template = sample(anatomy.brain, np.moveaxis(in_template, -1, 0)) > 0.5

        def overlap(mask, template=template):
            return 2 * (template & (mask > 0)).sum() / (anatomy.brain.sum() + mask.sum())

        mirrored = [overlap(np.flip(mask, axis)) for axis in range(3) if codes[axis] not in "LR"]
        assert overlap(mask) > max(0.88, max(mirrored) + 0.02)
        border = np.ones(mask.shape, bool)
        border[2:-2, 2:-2, 2:-2] = False
        assert not mask[border].any(), "the brain is cut or touches the border"
        assert not image[mask == 0].any()
    oblique = [np.abs(affine[:3, :3]).max(axis=0).min() < 1.999 for *_, affine in healthy]
    assert any(oblique) and not all(oblique)
    assert len({mask.shape for _, mask, _, _ in healthy}) > 4


def test_storage_orientation_is_the_only_difference(anatomy, healthy, monkeypatch):
    """A subject stored with left and right swapped is, turned to RAS, the subject stored as RAS."""
    monkeypatch.setattr("cdm_jax.data.phantom.subject.ORIENTATIONS", ("RAS",))
    index = ORIENTATIONS.index("LAS")
    image, _, _, affine = make_subject(anatomy, SEED, index, lesions=False)
    stored = nib.Nifti1Image(healthy[index][0], healthy[index][3])
    assert np.linalg.det(stored.affine) < 0 < np.linalg.det(affine)
    turned = nib.as_closest_canonical(stored)
    assert np.array_equal(turned.get_fdata(dtype=np.float32), image)
    np.testing.assert_allclose(turned.affine, affine, atol=1e-9)


def test_older_brains_have_larger_ventricles(anatomy):
    young, old = (
        sample(anatomy.deep_csf, draw_grid(generator(SEED, 0, SHAPE), anatomy, age).template).sum()
        for age in (20, 80)
    )
    assert old > 1.15 * young


# Tissue


@pytest.mark.parametrize(
    "modality, order", [("t2", "csf gm wm"), ("t1", "wm gm csf"), ("flair", "gm wm csf")]
)
def test_contrasts_are_in_the_order_of_the_modality(anatomy, modality, order):
    index = 0  # stored as RAS, the grid's own orientation
    grid = draw_grid(generator(SEED, index, SHAPE), anatomy, subject_age(SEED, index))
    image, *_ = make_subject(anatomy, SEED, index, modality=modality, lesions=False)
    pure = {"csf": anatomy.deep_csf, "gm": anatomy.gm, "wm": anatomy.wm}
    means = {name: image[grid.mask][sample(m, grid.template) > 0.8].mean() for name, m in pure.items()}
    assert sorted(means, key=means.get, reverse=True) == order.split()
    values = list(means.values())
    assert max(values) / min(values) > 1.3


def test_modalities_show_the_same_person(anatomy, patients):
    for modality in set(MODALITIES) - {"t2"}:
        image, mask, seg, affine = make_subject(anatomy, SEED, 1, modality=modality, lesions=True)
        reference = patients[1]
        assert np.array_equal(mask, reference[1]) and np.array_equal(seg, reference[2])
        assert np.array_equal(affine, reference[3]) and not np.array_equal(image, reference[0])


# Subjects


def test_a_subject_is_bit_equal_every_time_and_no_other(anatomy, patients):
    image, mask, seg, affine = make_subject(anatomy, SEED, 3, lesions=True)
    for again, first in zip((image, mask, seg, affine), patients[3], strict=True):
        assert np.array_equal(again, first)
    other_seed = make_subject(anatomy, SEED + 1, 3, lesions=True)
    assert other_seed[0].shape != image.shape or not np.array_equal(other_seed[0], image)
    assert image.dtype == np.float32 and mask.dtype == seg.dtype == np.uint8
    assert 300 < image.max() < 3000


def test_lesions_lie_in_the_brain_mostly_outside_ventricles(patients, healthy):
    shares = []
    for (_, mask, seg, _), (twin, twin_mask, twin_seg, _) in zip(patients, healthy, strict=True):
        assert np.array_equal(mask, twin_mask) and not twin_seg.any()
        assert seg.sum() >= 5 and not seg[mask == 0].any()
        bright = twin > 0.85 * np.percentile(twin[mask > 0], 99.5)  # healthy T2: cerebrospinal fluid
        assert bright[seg > 0].mean() < 0.15
        shares.append(seg.sum() / mask.sum())
    assert 0.005 < np.mean(shares) < 0.03


def test_a_lesion_changes_its_own_place_and_little_else(patients, healthy):
    inside, outside = [], []
    for (image, mask, seg, _), (twin, *_) in zip(patients, healthy, strict=True):
        change = np.abs(image - twin) / np.percentile(twin[mask > 0], 99)
        far = (mask > 0) & ~ndimage.binary_dilation(seg, iterations=8)
        inside.append(np.median(change[seg > 0]))
        outside.append(np.percentile(change[far], 80))
    assert np.min(inside) > 0.04
    assert np.max(outside) < 0.02


def test_intensity_alone_does_not_find_the_lesions(patients):
    """Neither bright nor dark voxels are the lesions: average precision of plain thresholding stays low."""
    scores, labels = [], []
    for image, mask, seg, _ in patients:
        low, high = np.percentile(image[mask > 0], (1, 99))
        scores.append(((image - low) / (high - low)).clip(0, 1)[mask > 0])
        labels.append(seg[mask > 0])
    scores, labels = np.concatenate(scores), np.concatenate(labels)
    assert labels.mean() < average_precision_score(labels, scores) < 0.6
    assert average_precision_score(labels, 1 - scores) < 0.3
    assert 0.5 < roc_auc_score(labels, scores) < 0.97


# Lesions


def _ball_grid(radius, **changes) -> tuple[Lesion, Grid, np.ndarray]:
    mask = np.ones((41, 41, 41), bool)
    voxels = np.argwhere(mask)
    grid = Grid(mask, voxels, voxels.T.astype(np.float32), np.eye(3), np.eye(4))
    plain = {"axis": np.eye(3)[0], "stretch": 1.0, "roughness": 0.0, "edge": 1.0, "push": 0.0}
    centre = np.array([20, 20, 20])
    return Lesion(centre=centre, radius=radius, **{**plain, **changes}), grid, centre


@pytest.mark.parametrize("stretch", [1.0, 1.6])
def test_a_smooth_lesion_has_the_volume_of_its_ball(stretch):
    lesion, grid, centre = _ball_grid(6.0, stretch=stretch)
    share = lesion_share(generator(0, 0, SHAPE), lesion, centre, grid)
    assert share.sum() == pytest.approx(4 / 3 * np.pi * 6**3, rel=0.03)


@settings(max_examples=15, deadline=None)
@given(
    radius=st.floats(1.75, 9.0),
    roughness=st.floats(0.2, 0.5),
    edge=st.floats(1.0, 3.0),
    index=st.integers(0, 10**6),
)
def test_any_rough_lesion_is_one_piece_that_holds_its_centre(radius, roughness, edge, index):
    lesion, grid, centre = _ball_grid(radius, roughness=roughness, edge=edge)
    share = lesion_share(generator(0, index, SHAPE), lesion, centre, grid).reshape(grid.mask.shape)
    assert share.min() >= 0 and share.max() <= 1
    assert share[20, 20, 20] > 0.5
    assert 5 <= (share > 0.5).sum() < 4 * 4 / 3 * np.pi * radius**3 + 10


def test_mass_effect_is_radial_peaks_at_the_rim_and_spares_the_skull():
    lesion, grid, centre = _ball_grid(6.0, push=2.0)
    moved = displace(lesion, centre, grid, depth=np.full(len(grid.voxels), 99.0))
    length = np.linalg.norm(moved, axis=0)
    distance = np.linalg.norm(grid.voxels - centre, axis=1)
    np.testing.assert_allclose(length[distance == 6], 2.0, rtol=1e-6)
    assert length.max() == pytest.approx(2.0, rel=1e-6)
    outward = (grid.voxels - centre).T
    np.testing.assert_allclose((moved * outward).sum(axis=0), -length * distance, atol=1e-4)
    assert not displace(lesion, centre, grid, depth=np.ones(len(grid.voxels))).any()


# Cohorts


def test_a_cohort_is_the_published_tree_with_disjoint_splits(cohort):
    folder, calls = cohort
    subjects = {split: load("phantom", folder, split, "t2") for split in SPLITS}
    assert {split: len(rows) for split, rows in subjects.items()} == SPLITS
    names = [subject.id for rows in subjects.values() for subject in rows]
    assert len(set(names)) == len(names) == sum(SPLITS.values())
    for split, rows in subjects.items():
        for subject in rows:
            assert subject.mask.is_file()
            assert subject.label == int("patients" in split) == int(subject.seg is not None)
            assert 20 <= subject.age <= 80
    assert calls == [(done, 6, False) for done in range(1, 7)], "tables come last"
    assert not [path for path in folder.rglob("*") if path.name.startswith(".tmp")]


def test_every_fold_validates_on_other_subjects_and_trains_on_the_rest(cohort):
    folds = [
        [
            {subject.id for subject in load("phantom", cohort[0], split, "t2", fold)}
            for split in ("train", "val")
        ]
        for fold in range(1 + SPLITS["train"] // SPLITS["val"])
    ]
    for train, val in folds:
        assert not train & val and train | val == folds[0][0] | folds[0][1]
    held = [name for _, val in folds for name in val]
    assert len(set(held)) == len(held)


def test_cohort_files_are_nifti_with_the_subject_in_them(cohort, anatomy):
    (patient,) = load("phantom", cohort[0], "test_patients", "t2")
    image, mask, seg, affine = make_subject(anatomy, SEED, 5, lesions=True)
    scan = nib.load(patient.image)
    assert scan.get_data_dtype() == np.int16 and nib.load(patient.seg).get_data_dtype() == np.uint8
    assert int(scan.header["qform_code"]) == int(scan.header["sform_code"]) == 1
    np.testing.assert_allclose(scan.affine, affine, atol=1e-5)
    np.testing.assert_allclose(scan.get_qform(), affine, atol=1e-3)
    assert np.abs(scan.get_fdata() - image).max() <= 0.5
    assert np.array_equal(np.asarray(nib.load(patient.mask).dataobj), mask)
    assert np.array_equal(np.asarray(nib.load(patient.seg).dataobj), seg)


def test_a_subject_has_the_same_bytes_in_another_cohort(cohort, tmp_path):
    empty = dict.fromkeys(SPLITS, 0)
    write_cohort(tmp_path, seed=SEED, **{**empty, "train": 1}, workers=1)
    scan = Path("Train/phantom/t2/PH0000_t2.nii.gz")
    assert (tmp_path / scan).read_bytes() == (cohort[0] / scan).read_bytes()
    with pytest.raises(UsageError, match="phantom_patients_test.csv.*no subjects"):
        load("phantom", tmp_path, "test_patients", "t2")


@pytest.mark.parametrize("wrong", [{"modality": "pd"}, {"val": -1}])
def test_wrong_arguments_write_nothing(tmp_path, wrong):
    with pytest.raises(UsageError, match=str(*wrong.values())):
        write_cohort(tmp_path / "new", seed=0, **{**SPLITS, **wrong})
    assert not (tmp_path / "new").exists()
