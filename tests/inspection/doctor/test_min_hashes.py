import sys
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_embedder_data import ConfigError
from llm_embedder_data.inspection.doctor.min_hashes import BandKeys, check_near_duplicates
from llm_embedder_data.inspection.doctor.same_keys import SameKeys, pairs_of_one_key
from llm_embedder_data.inspection.doctor.shingles import distinct, jaccard, shingles

pytest.importorskip("rensa", reason="needs the extra 'near-duplicates'")

TEXTS = st.lists(st.text("ab 中😀", max_size=9), min_size=1, max_size=6)
KEYS = st.lists(st.lists(st.integers(0, 2), min_size=3, max_size=3), max_size=8)


def runs(text):
    return {text[at : at + 5] for at in range(max(1, len(text) - 4))}


@given(TEXTS)
def test_similarity_is_that_of_the_sets_of_five_characters(texts):
    sets = distinct(*shingles(texts))

    assert [len(one) for one in sets] == [len(runs(text)) for text in texts]
    for (one, other), (text, its) in zip(
        combinations(sets, 2), combinations(texts, 2), strict=True
    ):
        both = runs(text) & runs(its)
        assert jaccard(one, other) == len(both) / len(runs(text) | runs(its))


@given(TEXTS, st.randoms(use_true_random=False), st.sampled_from([0.7, 0.8, 1]))
def test_keys_of_a_text_depend_on_nothing_else_so_that_equal_texts_are_always_found(
    texts, random, threshold
):
    band_keys = BandKeys(threshold)
    keys = dict(zip(texts, band_keys(*shingles(texts)).tolist(), strict=True))
    shuffled = [*texts, texts[0]]
    random.shuffle(shuffled)

    again = band_keys(*shingles(shuffled)).tolist()

    assert again == [keys[text] for text in shuffled]


@given(KEYS, KEYS)
def test_pairs_are_all_that_share_a_key_in_a_band(keys, others):
    ours, theirs = (np.array(of, np.uint64).reshape(-1, 3) for of in (keys, others))

    found = SameKeys(ours).pairs(theirs)
    pairs = [
        pair
        for left, right in pairs_of_one_key(ours, lambda: np.zeros(len(keys), bool), 2)
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

    pairs = list(pairs_of_one_key(keys, lambda: np.array([True, True, False]), 9))

    assert [(left.tolist(), right.tolist()) for left, right in pairs] == [([1, 0], [2, 2])]


def test_nearly_all_pairs_above_the_threshold_share_a_key_and_few_far_below():
    draw = np.random.default_rng(3)
    texts = []
    for _ in range(40):
        words = [f"{word:05d}" for word in draw.integers(0, 10**5, 40)]
        for n_changed in (0, 1, 1, 2, 3, 5, 8):
            changed = list(words)
            for at in draw.choice(40, n_changed, replace=False):
                changed[at] = f"{draw.integers(0, 10**5):05d}"
            texts.append(" ".join(changed))
    sets = distinct(*shingles(texts))
    similarity = {
        pair: jaccard(sets[pair[0]], sets[pair[1]]) for pair in combinations(range(len(texts)), 2)
    }

    for threshold in (0.7, 0.8, 0.9):
        keys = BandKeys(threshold)(*shingles(texts))
        found = {pair for pair in similarity if (keys[pair[0]] == keys[pair[1]]).any()}
        near = {pair for pair, one in similarity.items() if one >= threshold}
        far = {pair for pair, one in similarity.items() if one < threshold / 2}
        assert len(near) > 15
        assert len(near & found) >= 0.98 * len(near)
        assert len(far & found) <= 0.01 * len(far)


@pytest.mark.parametrize("threshold", [True, "0.8", 0.5, 1.01, 80, float("nan"), [0.8]])
def test_a_threshold_that_is_no_similarity_is_one_sentence(threshold):
    with pytest.raises(ConfigError, match=r"near_duplicates=.*expected the least Jaccard"):
        check_near_duplicates(threshold)


def test_without_the_package_one_sentence_says_which_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "rensa", None)

    assert check_near_duplicates(None) is None
    with pytest.raises(ConfigError, match=r"pip install \"llm_embedder_data\[near-duplicates\]"):
        check_near_duplicates(0.8)
