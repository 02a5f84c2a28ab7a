"""Randomness as a function."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from llm_embedder_data.core.hashing import below, hash_rows, stream_seed, stream_seeds

PARTS = st.lists(st.integers(-5, 5) | st.sampled_from(["", "a", "b", "ab"]), max_size=4).map(tuple)


@given(PARTS, PARTS)
def test_seeds_are_equal_exactly_if_their_parts_are(parts, other_parts):
    assert (stream_seed(*parts) == stream_seed(*other_parts)) == (parts == other_parts)


def test_seed_and_epoch_do_not_run_together():
    seeds = {stream_seed(seed, epoch) for seed in range(40) for epoch in range(40)}

    assert len(seeds) == 1600


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=5), st.integers(1, 9))
def test_many_seeds_at_once_are_the_seeds_one_by_one(seeds, n_numbers):
    together = stream_seeds(np.array(seeds, np.uint64)[:, None], np.arange(n_numbers))

    assert together.tolist() == [
        [stream_seed(seed, number) for number in range(n_numbers)] for seed in seeds
    ]


def test_a_row_hashes_alike_wherever_it_stands():
    rows = np.array([[5, 0], [3, 5]])

    words = hash_rows(9, rows)

    assert words.shape == rows.shape
    assert words[0, 0] == words[1, 1] == hash_rows(9, np.array([5]))[0]
    assert words[0, 0] != hash_rows(10, np.array([5]))[0]


def test_numbers_below_n_are_all_drawn_equally_often():
    drawn = below(hash_rows(1, np.arange(70_000)), 7)

    counts = np.bincount(drawn, minlength=7)
    assert len(counts) == 7
    assert abs(counts - 10_000).max() < 500  # five standard deviations


def test_a_bound_for_each_word():
    bounds = np.array([1, 2, 3] * 100)

    assert (below(hash_rows(1, np.arange(300)), bounds) < bounds).all()
