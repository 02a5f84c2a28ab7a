"""Texts gathered by bytes: what is read where they are many is what is read where they are few."""

import datasets
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_embedder_data.batches.groups import gathering
from llm_embedder_data.batches.groups.gathering import GatheredTexts, gathered, texts_of_lists
from llm_embedder_data.rows.source_rows.row_tables import RowTables

LISTS = st.lists(st.lists(st.text("aé", max_size=5), max_size=4), min_size=1, max_size=6)


@given(LISTS, st.data())
def test_texts_are_the_same_where_they_are_not_copied(lists, data):
    whole = pa.array([["before"], *lists], pa.list_(pa.string()))
    column = pa.chunked_array([whole.slice(i + 1, 1) for i in range(len(lists))])
    flat = [text for texts in lists for text in texts]
    places = data.draw(st.lists(st.integers(0, len(flat) - 1), max_size=9)) if flat else []
    at = np.array(places, np.int64)

    with pytest.MonkeyPatch.context() as patch:
        copied = GatheredTexts(column).at(at)
        patch.setattr(gathering, "_COPIED_BYTES", 0)
        mapped = GatheredTexts(column).at(at)

    assert copied == mapped == [flat[place] for place in places]
    assert texts_of_lists(column) == flat


@given(st.lists(st.integers(0, 300), min_size=1, max_size=20), st.integers(1, 500))
def test_rows_are_gathered_in_their_order_by_bytes(sizes, most):
    rows = datasets.Dataset(pa.table({"text": ["x" * size for size in sizes]}))
    numbers = np.arange(len(sizes))[::-1].copy()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gathering, "_STRING_BYTES", most)
        parts = list(gathered(RowTables(rows, rows.column_names), numbers))

    assert np.concatenate([own for own, _ in parts]).tolist() == numbers.tolist()
    texts = [text for _, table in parts for text in table.column("text").to_pylist()]
    assert texts == ["x" * size for size in sizes[::-1]]
    assert all(table.nbytes <= most for own, table in parts if len(own) > 1)
