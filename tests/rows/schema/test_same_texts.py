"""Which keys of a row have the same text."""

import pyarrow as pa
from hypothesis import example, given
from hypothesis import strategies as st

from llm_embedder_data.rows.columns.records import columns_of_records
from llm_embedder_data.rows.schema.train import TRAIN_COLUMNS, train_batch

# Many texts that begin, end, or are alike in the middle, and many that are the same.
LIKE = st.lists(st.sampled_from(["", "a", "bcd", "bcdefgh", "é"]), max_size=5).map("-".join)
KEYS = st.text(max_size=3) | LIKE | LIKE.map(lambda text: f"beginning{text}ending")


@given(st.lists(st.lists(KEYS, min_size=1, max_size=6), min_size=1, max_size=4))
@example([["a", "a"]])
@example([["beginning-1-middle-1-ending", "beginning-2-middle-2-ending"] * 2])
@example([["", "b", ""], ["b"]])
def test_each_key_has_the_index_of_the_first_equal_key_of_its_row(rows):
    records = [{"query": "q", "neg": keys} for keys in rows]
    faults = [None] * len(records)

    batch = train_batch(columns_of_records(records, TRAIN_COLUMNS, faults), faults)

    assert batch.column("first_same").to_pylist() == [
        [keys.index(key) for key in keys] for keys in rows
    ]


def test_a_null_key_is_not_equal_to_an_empty_key():
    records = [{"query": "q", "pos": ["", None, ""], "neg": [None]}]
    faults = [None]

    batch = train_batch(columns_of_records(records, TRAIN_COLUMNS, faults), faults)

    assert batch.column("first_same").to_pylist() == [[0, 1, 0, 1]]
    assert batch.column("fault").type == pa.string()
    assert faults == ["pos holds a null (give a text, or take the entry out)"]
