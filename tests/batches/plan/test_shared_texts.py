"""Rows that share a text come in different global batches."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import shared_texts_of

from llm_embedder_data.batches.plan.epoch_plan import EpochPlan
from llm_embedder_data.batches.plan.shared_texts import SharedTexts
from llm_embedder_data.config import ConfigError


def n_together(batches, texts_of):
    """How many rows have a text that another row of the same batch has before them."""
    count = 0
    for batch in batches:
        seen = set()
        for row in np.asarray(batch).tolist():
            texts = texts_of.get(row, set())
            count += bool(texts & seen)
            seen |= texts
    return count


def shared(texts_of):
    pairs = [(row, text) for row, texts in texts_of.items() for text in texts]
    return SharedTexts([row for row, _ in pairs], [text for _, text in pairs])


@given(st.data())
def test_the_rows_stay_the_same_and_no_batch_gets_more_repeated_texts(data):
    n_batches, global_batch = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 8))
    n_rows = n_batches * global_batch
    texts = st.sets(st.integers(0, data.draw(st.integers(0, 40))), max_size=3)
    texts_of = {row: data.draw(texts) for row in range(n_rows)}
    planned = np.random.default_rng(0).permutation(n_rows).reshape(n_batches, global_batch)

    separated = shared(texts_of).separated(planned)

    assert separated.shape == planned.shape
    assert sorted(separated.ravel().tolist()) == list(range(n_rows))
    if not n_together(planned, texts_of):
        assert np.array_equal(separated, planned)


@given(st.data())
def test_texts_that_fit_into_different_batches_are_all_kept_apart(data):
    n_batches, global_batch = data.draw(st.integers(2, 80)), data.draw(st.integers(2, 60))
    planned = np.arange(n_batches * global_batch).reshape(n_batches, global_batch)
    # Two texts of a row stand in so few rows that a batch without both is left, and fewer rows than
    # a batch has share texts, so that every batch keeps room for one of them.
    most = (n_batches + 1) // 2
    some_rows = st.sets(st.integers(0, planned.size - 1), max_size=global_batch - 1)
    rows = data.draw(some_rows.map(sorted))
    texts_of = {row: {i // most, 1000 + i % -(-len(rows) // most)} for i, row in enumerate(rows)}

    assert n_together(shared(texts_of).separated(planned), texts_of) == 0


@pytest.mark.parametrize("n_texts", [60, 128, 640])
def test_rows_that_all_share_two_texts_with_others_are_kept_apart_where_it_can_be(n_texts):
    random = np.random.default_rng(0)
    texts_of = {row: set(random.integers(n_texts, size=2).tolist()) for row in range(640)}
    planned = random.permutation(640).reshape(64, 10)

    assert n_together(planned, texts_of) > 10
    assert n_together(shared(texts_of).separated(planned), texts_of) == 0


def test_rows_of_a_single_text_end_as_they_are():
    texts = SharedTexts(np.arange(6400), np.zeros(6400, int))

    separated = texts.separated(np.arange(6400).reshape(64, 100))

    assert sorted(separated.ravel().tolist()) == list(range(6400))
    assert texts.most_rows == len(texts) == 6400


def test_a_text_that_is_query_and_positive_of_a_row_is_no_shared_text():
    texts = SharedTexts([0, 0, 1, 2, 2], [7, 7, 8, 9, 8])

    assert (len(texts), texts.most_rows) == (2, 2)
    assert len(SharedTexts([], [])) == 0


def test_the_batches_of_a_plan_hold_no_text_twice_in_any_epoch_and_on_any_number_of_ranks():
    sizes = {"a": 3000, "b": 1300}
    for n_ranks in (1, 4):
        plan = EpochPlan(sizes, 40 // n_ranks, n_ranks, shared_texts=shared_texts_of(sizes))
        for epoch in range(3):
            for name, rows in plan.at(epoch):
                n_rows = sizes[name]
                texts_of = {
                    row: {row % (n_rows // 3 + 1), 1000 + row * 31 % 47} for row in range(n_rows)
                }
                # A second text is in 64 of 3,000 rows, of 75 batches, or in 28 of 1,300, of 32.
                assert n_together([rows], texts_of) == 0


def test_a_method_without_passes_is_refused():
    message = "data.no_duplicates=true with data.organize_method='random', which draws each"
    with pytest.raises(ConfigError, match=re.escape(message)):
        EpochPlan({"a": 40}, 4, organize_method="random", shared_texts={})
