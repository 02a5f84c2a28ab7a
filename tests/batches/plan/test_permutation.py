"""A permutation of range(n) without a table."""

from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_embedder_data.batches.plan.permutation import permute


@given(st.integers(1, 2000), st.integers(0, 2**64 - 1))
def test_every_number_has_one_place(n, key):
    assert sorted(permute(np.arange(n), n, key).tolist()) == list(range(n))


@pytest.mark.parametrize("n", range(1, 40))
def test_small_ranges_too(n):
    assert sorted(permute(np.arange(n), n, 3).tolist()) == list(range(n))


@given(st.integers(1, 300), st.data())
def test_a_place_has_one_image_whoever_asks_with_it(n, data):
    places = data.draw(st.lists(st.integers(0, n - 1), max_size=10))

    images = permute(np.array(places, np.int64), n, 7)

    assert images.tolist() == permute(np.arange(n), n, 7)[places].tolist()


@given(st.lists(st.tuples(st.integers(1, 300), st.integers(0, 2**64 - 1)), min_size=1, max_size=6))
def test_many_permutations_at_once_are_the_permutations_one_by_one(named):
    sizes = np.array([n for n, _ in named])
    keys = np.array([key for _, key in named], np.uint64)
    places = np.arange(7) % sizes[:, None]

    together = permute(places, sizes[:, None], keys[:, None])

    for images, own, (n, key) in zip(together, places, named, strict=True):
        assert images.tolist() == permute(own, n, key).tolist()


@pytest.mark.parametrize("n", [3, 4])
def test_all_permutations_come_equally_often(n):
    n_keys = 6000
    seen = Counter(tuple(permute(np.arange(n), n, key).tolist()) for key in range(n_keys))

    expected = n_keys / len(list(permutations(range(n))))
    assert set(seen) == set(permutations(range(n)))
    assert sum((count - expected) ** 2 / expected for count in seen.values()) < 60


def test_no_place_keeps_near_its_neighbour():
    images = permute(np.arange(10_000), 10_000, 5)

    steps = np.abs(np.diff(images))
    assert 3100 < steps.mean() < 3570  # a third of n for independent images


def test_a_range_of_10_to_the_15_is_as_cheap_as_a_small_one():
    n = 10**15

    images = permute(np.arange(n - 1000, n), n, 11)

    assert len(set(images.tolist())) == 1000
    assert 0 <= images.min() < images.max() < n
