from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from llm_embedder_data.inspection.doctor.near_duplicates.shingles import distinct, jaccard, shingles

TEXTS = st.lists(st.text("ab 中😀", max_size=9), min_size=1, max_size=6)


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
