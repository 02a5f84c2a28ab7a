"""The approximate length of rows."""

import datasets
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from llm_embedder_data.rows.row_lengths import row_lengths

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
ROWS = st.lists(
    st.tuples(st.none() | TEXTS, st.none() | st.lists(TEXTS, max_size=4)), min_size=1, max_size=8
)


def n_bytes(text, max_length):
    return min(len((text or "").encode()), 5 * max_length)


@given(ROWS, st.integers(1, 8), st.integers(1, 8), st.data())
def test_a_row_length_is_the_bytes_of_the_query_and_group_size_times_the_longest_key(
    rows, query_max_length, key_max_length, data
):
    """Also where rows come in several pieces of several files, and of a part of them."""
    features = datasets.Features(
        {"query": datasets.Value("string"), "key": [datasets.Value("string")]}
    )
    cut = data.draw(st.integers(0, len(rows)))
    parts = [
        datasets.Dataset.from_dict(
            {"query": [row[0] for row in part], "key": [row[1] for row in part]}, features
        )
        for part in (rows[:cut], rows[cut:])
    ]
    kept = np.array(sorted(data.draw(st.sets(st.integers(0, len(rows) - 1)))), np.int64)

    lengths = row_lengths(
        datasets.concatenate_datasets([part for part in parts if len(part)]),
        kept,
        group_size=3,
        query_max_length=query_max_length,
        key_max_length=key_max_length,
    )

    expected = [
        n_bytes(query, query_max_length)
        + 3 * max((n_bytes(key, key_max_length) for key in keys or []), default=0)
        for query, keys in (rows[number] for number in kept)
    ]
    assert lengths.dtype == np.float32
    assert lengths.tolist() == expected
