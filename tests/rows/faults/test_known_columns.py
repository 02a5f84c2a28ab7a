"""Columns and values that are known by their look."""

from hypothesis import given
from hypothesis import strategies as st

from llm_embedder_data.rows.faults.known_columns import look_like_ids, nearest_mapping
from llm_embedder_data.rows.schema.train import TRAIN_FIELDS


@given(st.lists(st.text(max_size=60), max_size=5))
def test_a_text_with_white_space_is_not_an_id(texts):
    assert not look_like_ids([*texts, "two words 12"])


@given(st.lists(st.text(max_size=12), max_size=8), st.permutations(TRAIN_FIELDS))
def test_no_column_is_suggested_for_two_fields(found, needed):
    mapping = nearest_mapping(found, needed)

    assert len(set(mapping.values())) == len(mapping)
    assert set(mapping.values()) <= set(found)
