"""The public API: arrays in the scan's grid, the same from a file, a volume and any orientation."""

import nibabel as nib
import numpy as np
import pytest

from cdm_jax import Detector
from cdm_jax.data import datasets, volume
from cdm_jax.detector import read_threshold
from cdm_jax.errors import CheckpointError


@pytest.fixture(scope="module")
def detector(tiny_run):
    return Detector.load(tiny_run)


@pytest.fixture(scope="module")
def subject(tiny_cohort):
    return datasets.load("phantom", tiny_cohort, "test_patients", "t2")[0]


def test_detect_returns_three_volumes_with_the_scans_affine(detector, subject):
    found = detector.detect(subject.image, subject.mask)
    given = nib.load(subject.image)
    assert found.recon.shape == found.anomaly.shape == found.lesion_mask.shape == given.shape
    np.testing.assert_array_equal(found.affine, given.affine)
    images = found.to_nifti()
    assert set(images) == {"recon", "anomaly", "lesion_mask"}
    np.testing.assert_array_equal(images["anomaly"].get_fdata(), found.anomaly)


def test_a_path_a_volume_and_an_array_mask_are_the_same(detector, subject):
    scan = volume.read(subject.image)
    mask = volume.read_mask(subject.mask, scan)
    first, second = detector.detect(subject.image, subject.mask), detector.detect(scan, mask)
    np.testing.assert_array_equal(first.anomaly, second.anomaly)


def test_another_storage_order_of_the_same_scan_gives_the_same_map(detector, subject, tmp_path):
    turned = {}
    for name, path in (("image", subject.image), ("mask", subject.mask)):
        image = nib.load(path)
        change = nib.orientations.ornt_transform(
            nib.io_orientation(image.affine), nib.orientations.axcodes2ornt("PIL")
        )
        turned[name] = tmp_path / name / path.name
        turned[name].parent.mkdir()
        nib.save(image.as_reoriented(change), turned[name])
    first = detector.detect(subject.image, subject.mask)
    second = detector.detect(turned["image"], turned["mask"])
    back = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("PIL"), nib.io_orientation(first.affine)
    )
    np.testing.assert_allclose(
        nib.orientations.apply_orientation(second.anomaly, back), first.anomaly, atol=1e-4
    )


def test_a_slices_result_does_not_depend_on_its_batch(detector):
    images = np.random.default_rng(0).random((11, 24, 28), np.float32)
    subjects, slices = np.arange(11, dtype=np.uint32), np.arange(11)
    whole = detector.reconstruct_slices(images, subjects, slices)
    part = detector.reconstruct_slices(images[3:5], subjects[3:5], slices[3:5])
    np.testing.assert_allclose(part, whole[3:5], atol=1e-5)


def test_the_threshold_given_is_the_threshold_used(detector, subject):
    found = detector.detect(subject.image, subject.mask, threshold=0.0)
    assert found.facts["threshold"] == {"value": 0.0, "source": "given by the user"}
    assert (
        found.lesion_mask.sum()
        > detector.detect(subject.image, subject.mask, threshold=0.5).lesion_mask.sum()
    )


def test_a_damaged_calibration_is_refused(tmp_path):
    path = tmp_path / "calibration.json"
    assert read_threshold(path) is None
    for text in ("{", "[]", '{"value": "x", "source": ""}'):
        path.write_text(text)
        with pytest.raises(CheckpointError, match="calibration.json"):
            read_threshold(path)


def test_a_model_without_calibration_says_so(detector, subject):
    import dataclasses

    with pytest.raises(CheckpointError, match="cdm evaluate"):
        dataclasses.replace(detector, threshold=None).detect(subject.image, subject.mask)
