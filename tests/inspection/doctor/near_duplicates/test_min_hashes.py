from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_embedder_data.inspection.doctor.near_duplicates.min_hashes import BandKeys
from llm_embedder_data.inspection.doctor.near_duplicates.shingles import distinct, jaccard, shingles

pytest.importorskip("rensa", reason="needs the extra 'near-duplicates'")

TEXTS = st.lists(st.text("ab 中😀", max_size=9), min_size=1, max_size=6)


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
