"""Batches are a function of seed and step, for every number of workers and processes."""

import itertools
import os
import subprocess
import sys
import threading

import grain
import jax
import numpy as np
import pytest
from absl import flags
from hypothesis import given, settings
from hypothesis import strategies as st

from cdm_jax.data.entry import write_entry
from cdm_jax.data.pipeline import batches, brain_slices, fixed_batches, shuffled, slice_dataset
from cdm_jax.data.store import Store, open_store
from cdm_jax.data.to_device import to_device
from cdm_jax.errors import UsageError, VolumeError

VOLUMES, DEPTH, BRAIN = 7, 10, range(2, 8)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    """Seven volumes whose voxels tell their place; brain in six slices of ten."""
    return make_store(tmp_path_factory.mktemp("store"))


def make_store(folder) -> Store:
    mask = np.zeros((DEPTH, 4, 5), bool)
    mask[BRAIN, 1:3] = True
    paths = [folder / f"S{n}.npy" for n in range(VOLUMES)]
    for n, path in enumerate(paths):
        image = np.full(mask.shape, n, np.float32) + np.arange(DEPTH, dtype=np.float32)[:, None, None] / 100
        write_entry(path, image, mask, ~mask, (2.0, 2.0, 2.0))
    return open_store(paths)


def take(store, count, **options):
    options = {"seed": 1, "batch": 4, "brain_only": True} | options
    return list(itertools.islice(batches(store, **options), count))


def assert_same(a, b):
    for x, y in zip(a, b, strict=True):
        assert x.keys() == y.keys()
        for name in x:
            np.testing.assert_array_equal(x[name], y[name])


SLICES = st.sampled_from(("one", "all"))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 9), st.integers(-3, 3), SLICES, st.booleans(), st.sampled_from((0, 1, 4)))
def test_starting_late_gives_what_never_stopping_gives(store, step, seed, slices, brain_only, workers):
    options = {"seed": seed, "slices": slices, "brain_only": brain_only}
    whole = take(store, 10, workers=0, **options)
    assert_same(whole[step:], take(store, 10 - step, start_step=step, workers=workers, **options))


@settings(max_examples=10, deadline=None)
@given(st.sampled_from((2, 3, 6)), SLICES, st.integers(0, 40))
def test_the_processes_together_see_what_one_sees(store, processes, slices, step):
    options = {"batch": 12, "slices": slices, "workers": 0, "start_step": step}
    parts = [take(store, 3, process=p, processes=processes, **options) for p in range(processes)]
    joined = [{name: np.concatenate([share[name] for share in shares]) for name in shares[0]}
              for shares in zip(*parts, strict=True)]  # fmt: skip
    assert_same(joined, take(store, 3, **options))


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 9), st.booleans(), st.integers(0, 5))
def test_an_epoch_of_one_holds_every_volume_once(store, batch, brain_only, seed):
    seen = take(store, 5 * VOLUMES, batch=batch, brain_only=brain_only, seed=seed, workers=0)
    volumes, slices = (np.concatenate([b[name] for b in seen]) for name in ("volume", "slice"))
    for epoch in volumes[: len(volumes) // VOLUMES * VOLUMES].reshape(-1, VOLUMES):
        assert sorted(epoch) == list(range(VOLUMES))
    assert set(slices) <= set(BRAIN if brain_only else range(DEPTH))


@settings(max_examples=6, deadline=None)
@given(st.booleans(), st.integers(0, 5))
def test_an_epoch_of_all_holds_every_slice_once_mixed(store, brain_only, seed):
    each = list(itertools.product(range(VOLUMES), BRAIN if brain_only else range(DEPTH)))
    dataset = slice_dataset(store, seed=seed, batch=len(each), slices="all", brain_only=brain_only)
    epochs = [list(zip(dataset[n]["volume"], dataset[n]["slice"], strict=True)) for n in range(3)]
    assert all(sorted(epoch) == each for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert len({volume for volume, _ in epochs[0][:12]}) > 3


def test_draws_are_uniform_and_independent_of_each_other():
    """Chi-squared over 4000 epochs: of each volume's place, and of each slice beside each volume's place."""
    order, draw = np.stack([shuffled(3, epoch, 5) for epoch in range(4000)]).swapaxes(0, 1)
    for numbers in (order, draw % 5, (order + draw) % 5):
        counts = np.stack([np.bincount(column.astype(int), minlength=5) for column in numbers.T])
        statistic = ((counts - 800) ** 2 / 800).sum(axis=1)
        assert statistic.max() < 23.5  # 4 degrees of freedom: once in 10,000
    assert not np.array_equal(order, np.stack([shuffled(4, epoch, 5)[0] for epoch in range(4000)]))


def test_the_order_is_that_of_every_numpy():
    """Golden: another order would make a resumed run see other slices than the run it continues."""
    np.testing.assert_array_equal(shuffled(0, 0, 6)[0], [0, 2, 1, 5, 4, 3])
    draw = [1775316245260183739, 12256465624104698746, 15027704836396596896, 2032371487139611856]
    np.testing.assert_array_equal(shuffled(1, 7, 4), np.array([[2, 1, 3, 0], draw], np.uint64))
    np.testing.assert_array_equal(shuffled(-1, 0, 3)[0], [0, 2, 1])


def test_a_batch_holds_the_slices_it_names_and_ids_count_on(store):
    found = take(store, 9, batch=5)
    for batch in found:
        assert batch["image"].shape == (5, 4, 5, 1) and batch["image"].dtype == np.float32
        assert batch["mask"].shape == (5, 4, 5, 1) and batch["mask"].dtype == bool
        expected = batch["volume"] + batch["slice"].astype(np.float32) / 100
        np.testing.assert_allclose(batch["image"][:, 0, 0, 0], expected, rtol=1e-6)
        np.testing.assert_array_equal(batch["mask"][:, 1, 0, 0], np.isin(batch["slice"], BRAIN))
    np.testing.assert_array_equal(np.concatenate([batch["id"] for batch in found]), np.arange(45))


def test_ids_stay_32_bit_after_years(store):
    far = 10**9
    (batch,) = take(store, 1, start_step=far)
    np.testing.assert_array_equal(batch["id"], (far * 4 + np.arange(4)) % 2**31)
    assert_same([batch], [slice_dataset(store, seed=1, batch=4, brain_only=True)[far]])


def test_bad_settings_are_refused_at_once(store):
    with pytest.raises(UsageError, match="batch of 4 cannot be shared by 3"):
        batches(store, seed=0, batch=4, processes=3)
    with pytest.raises(UsageError, match="unknown slices 'some': choose one of all, one"):
        batches(store, seed=0, batch=4, slices="some")


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_an_error_in_a_worker_names_the_file(tmp_path, workers):
    damaged = make_store(tmp_path)
    found = batches(damaged, seed=0, batch=VOLUMES, workers=workers)
    next(found)
    os.truncate(tmp_path / "S3.npy", 100)
    with pytest.raises(VolumeError, match=f"{tmp_path}/S3.npy: cut from"):
        list(itertools.islice(found, 40))


def test_closing_ends_the_threads(store):
    before = set(threading.enumerate())
    found = batches(store, seed=0, batch=4, workers=3)
    next(found)
    started = set(threading.enumerate()) - before
    assert started
    found.close()
    for thread in started:
        thread.join(timeout=30)
        assert not thread.is_alive()


ABANDON = """
import sys
from pathlib import Path
from cdm_jax.data.pipeline import batches
from cdm_jax.data.store import open_store
found = batches(open_store(sorted(Path(sys.argv[1]).glob("[!.]*.npy"))), seed=0, batch=4, workers=2)
print([next(found)["id"].tolist() for _ in range(2)])
"""


def test_a_program_that_stops_reading_ends_quietly(store):
    command = [sys.executable, "-c", ABANDON, str(store.entries[0].path.parent)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "[[0, 1, 2, 3], [4, 5, 6, 7]]\n" and done.stderr == ""


def test_worker_processes_of_grain_give_the_same(store):
    flags.FLAGS.mark_as_parsed()
    dataset = slice_dataset(store, seed=1, batch=4, brain_only=True)[3:8].to_iter_dataset()
    found = iter(dataset.mp_prefetch(grain.MultiprocessingOptions(num_workers=1)))
    assert_same(found, take(store, 5, start_step=3))
    found.close()


def test_validation_batches_are_fixed_and_count_each_slice_once(store):
    found = list(fixed_batches(store, 16, slices_per_volume=3))
    assert sum(batch["weight"].sum() for batch in found) == 21
    assert {len(batch["image"]) for batch in found} == {16}
    assert_same(found, fixed_batches(store, 16, slices_per_volume=3))
    for choices in brain_slices(store):
        np.testing.assert_array_equal(choices, BRAIN)
    values = np.concatenate([batch["image"][:, 0, 0, 0] for batch in found])[:21]
    np.testing.assert_allclose(values, np.add.outer(np.arange(7), (0.03, 0.04, 0.05)).ravel(), rtol=1e-5)


def test_batches_reach_the_device_in_order_two_at_a_time():
    placed = []

    def place(batch):
        placed.append(batch)
        return jax.device_put(batch)

    for n, batch in enumerate(to_device(({"id": np.full(3, n)} for n in range(6)), place)):
        assert isinstance(batch["id"], jax.Array) and batch["id"].tolist() == [n] * 3
        assert len(placed) == min(n + 2, 6)
    assert n == 5


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_an_error_comes_after_the_batches_before_it(depth):
    def broken():
        yield from range(3)
        raise VolumeError("a.npy", "truncated", "cut")

    found = to_device(broken(), place=lambda batch: batch, depth=depth)
    assert [next(found) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(VolumeError, match="a.npy"):
        next(found)
