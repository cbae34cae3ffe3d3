"""Batches are a function of seed and step; the store gives back what was prepared."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdm_jax.data import datasets, store
from cdm_jax.data.pipeline import batches, brain_slices, fixed_batches, slice_dataset
from cdm_jax.data.store import Store, prepare_subject
from cdm_jax.errors import VolumeError

RANDOM = np.random.default_rng(0)
VOLUMES = Store(
    ids=[f"S{i}" for i in range(7)],
    images=RANDOM.random((7, 10, 4, 4), dtype=np.float32),
    masks=np.pad(np.ones((7, 6, 4, 4), bool), ((0, 0), (2, 2), (0, 0), (0, 0))),
    segs=np.zeros((7, 10, 4, 4), bool),
    spacing=4.0,
)
SETTINGS = {"spacing": 8.0, "shape": (24, 28, 24), "labels": "majority"}


def take(count, **options):
    options = {"seed": 1, "batch": 4, "brain_only": True} | options
    return list(itertools.islice(batches(VOLUMES, **options), count))


def assert_same(a, b):
    for x, y in zip(a, b, strict=True):
        for name in x:
            np.testing.assert_array_equal(x[name], y[name])


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 9), st.integers(0, 3))
def test_starting_late_gives_what_never_stopping_gives(step, seed):
    assert_same(take(10, seed=seed)[step:], take(10 - step, seed=seed, start_step=step))


def test_two_processes_see_what_one_sees():
    whole = take(6)
    parts = [take(6, process=process, processes=2) for process in (0, 1)]
    for batch, *shares in zip(whole, *parts, strict=True):
        both = np.concatenate([share["id"] for share in shares])
        assert sorted(both) == sorted(batch["id"])
        images = np.concatenate([share["image"] for share in shares])[np.argsort(both)]
        np.testing.assert_array_equal(images, batch["image"][np.argsort(batch["id"])])


def test_an_epoch_holds_every_volume_once_and_seeds_differ():
    dataset = slice_dataset(VOLUMES, seed=3, batch=7, brain_only=False)
    for epoch in range(3):
        assert sorted(dataset[epoch]["volume"]) == list(range(7))
    assert any(
        not np.array_equal(a["slice"], b["slice"]) for a, b in zip(take(3), take(3, seed=2), strict=True)
    )


def test_a_batch_holds_the_slices_it_names():
    for batch in take(5):
        for image, volume, index in zip(batch["image"], batch["volume"], batch["slice"], strict=True):
            np.testing.assert_array_equal(image[..., 0], VOLUMES.images[volume, index])
            assert VOLUMES.masks[volume, index].any()


def test_validation_batches_are_fixed_and_count_each_slice_once():
    found = list(fixed_batches(VOLUMES, 16, slices_per_volume=3))
    assert sum(batch["weight"].sum() for batch in found) == 21
    assert {len(batch["image"]) for batch in found} == {16}
    assert_same(found, fixed_batches(VOLUMES, 16, slices_per_volume=3))
    assert brain_slices(VOLUMES)[0].tolist() == [2, 3, 4, 5, 6, 7]


def test_the_store_holds_prepared_volumes_and_is_reused(tiny_cohort, tmp_path):
    subjects = datasets.load("phantom", tiny_cohort, "test_patients", "t2")
    first = store.build(tmp_path, subjects, **SETTINGS)
    _, prepared, seg = prepare_subject(subjects[1], **SETTINGS)
    np.testing.assert_array_equal(np.moveaxis(first.images[1], 0, 2), prepared.image)
    np.testing.assert_array_equal(np.moveaxis(first.segs[1], 0, 2), seg)
    assert first.ids == [subject.id for subject in subjects] and seg.any()
    stamp = (tmp_path / first_folder(tmp_path) / "index.json").stat().st_mtime_ns
    store.build(tmp_path, subjects, **SETTINGS)
    assert (tmp_path / first_folder(tmp_path) / "index.json").stat().st_mtime_ns == stamp
    store.build(tmp_path, subjects, **SETTINGS | {"spacing": 9.0})
    assert len(list(tmp_path.iterdir())) == 2


def first_folder(root):
    return sorted(root.iterdir())[0]


def test_a_broken_volume_leaves_no_store_behind(tiny_cohort, tmp_path):
    subjects = datasets.load("phantom", tiny_cohort, "test_patients", "t2")
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(b"not a volume")
    import dataclasses

    with pytest.raises(VolumeError, match="broken.nii.gz"):
        store.build(tmp_path / "store", [dataclasses.replace(subjects[0], image=broken)], **SETTINGS)
    assert not list((tmp_path / "store").iterdir())
