from itertools import combinations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from llm_embedder_data.inspection.doctor.near_duplicates.same_keys import (
    SameKeys,
    pairs_with_same_key,
)

KEYS = st.lists(st.lists(st.integers(0, 2), min_size=3, max_size=3), max_size=8)


@given(KEYS, KEYS)
def test_pairs_are_all_that_share_a_key_in_a_band(keys, others):
    ours, theirs = (np.array(of, np.uint64).reshape(-1, 3) for of in (keys, others))

    found = SameKeys(ours).pairs(theirs)
    pairs = [
        pair
        for left, right in pairs_with_same_key(ours, lambda: np.zeros(len(keys), bool), 2)
        for pair in zip(left.tolist(), right.tolist(), strict=True)
    ]

    assert list(zip(*(numbers.tolist() for numbers in found), strict=True)) == [
        (other, own)
        for other in range(len(others))
        for own in range(len(keys))
        if any(np.equal(others[other], keys[own]))
    ]
    assert sorted(pairs) == [
        (one, other)
        for one, other in combinations(range(len(keys)), 2)
        if any(np.equal(keys[one], keys[other]))
    ]


def test_a_pair_of_two_done_items_is_left_out():
    keys = np.zeros((3, 1), np.uint64)

    pairs = list(pairs_with_same_key(keys, lambda: np.array([True, True, False]), 9))

    assert [(left.tolist(), right.tolist()) for left, right in pairs] == [([1, 0], [2, 2])]
