"""Batches of few sizes, and host work beside the device's."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdm_jax.buckets import buckets
from cdm_jax.overlap import overlap


@given(st.integers(0, 300), st.integers(1, 70))
def test_buckets_hold_every_row_once_in_few_sizes(count, batch):
    rows = buckets(count, batch)
    flat = np.concatenate([*rows, np.arange(0)])
    np.testing.assert_array_equal(flat, np.arange(len(flat)))
    assert count <= len(flat) < count + -(-batch // 4)
    assert all(len(one) <= batch for one in rows)


def test_a_batch_size_has_at_most_four_buckets():
    for batch in (1, 7, 16, 50, 64):
        assert len({len(one) for count in range(4 * batch) for one in buckets(count, batch)}) <= 4


def test_results_come_in_order_and_errors_stay_with_their_item():
    def prepare(item):
        if item == 3:
            raise ValueError("three")
        return item

    def finish(item):
        if item == 50:
            raise KeyError("five")
        return item + 1

    futures = list(overlap(range(8), prepare, lambda item: 10 * item, finish))
    assert [future.result() for n, future in enumerate(futures) if n not in (3, 5)] == [1, 11, 21, 41, 61, 71]
    assert isinstance(futures[3].exception(), ValueError) and isinstance(futures[5].exception(), KeyError)


def test_the_next_item_is_prepared_while_the_first_is_on_the_device():
    second = threading.Event()

    def prepare(item):
        if item == 1:
            second.set()

    def launch(item):
        assert second.wait(timeout=30)

    assert len(list(overlap(range(2), prepare, launch, lambda item: item))) == 2


def test_few_items_are_in_flight():
    begun, done = [], []
    for future in overlap(range(40), begun.append, lambda item: item, lambda item: item, depth=2):
        future.result()
        done.append(1)
        assert len(begun) - len(done) <= 4


def test_an_error_of_the_launch_is_raised():
    def launch(item):
        raise MemoryError

    with pytest.raises(MemoryError):
        list(overlap(range(3), lambda item: item, launch, lambda item: item))
