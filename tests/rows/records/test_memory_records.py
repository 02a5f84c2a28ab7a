"""Records in memory and of tables, with the types that other libraries give their values."""

import math
from decimal import Decimal

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llm_embedder_data import read_rows
from llm_embedder_data.core.errors import DataError


def only(source, **settings):
    """The one row of a source, without the fields that are None or empty."""
    [row] = read_rows(source, **settings)
    return {field: value for field, value in row.items() if value not in (None, [])}


WANTED = {"query": "wo", "pos": ["hier"], "neg": ["da", "dort"], "teacher_scores": [3.0, 2.0, 1.0]}


def test_values_of_numpy_and_pandas_are_read_as_built_in_values():
    record = {
        "query": np.str_("wo"),
        "pos": np.array(["hier"]),
        "neg": ("da", np.str_("dort")),
        "teacher_scores": [np.float32(3), np.int64(2), 1],
        "query_id": np.int64(7),
    }
    assert only([record]) == {**WANTED, "query_id": 7}
    assert only(pd.DataFrame([record])) == {**WANTED, "query_id": 7}
    # Columns of mixed types cannot become an Arrow table.
    frame = pd.DataFrame([{**record, "mixed": 1}, {**record, "mixed": "a"}])
    assert [row["neg"] for row in read_rows(frame)] == [["da", "dort"]] * 2


@pytest.mark.parametrize("missing", [math.nan, pd.NA, pd.NaT, None])
def test_what_pandas_has_for_a_missing_value_is_none(missing):
    assert only([{"query": "wo", "pos": ["hier"], "neg": missing}]) == {
        "query": "wo",
        "pos": ["hier"],
    }


def test_labels_of_numpy_are_labels():
    pairs = [
        {"sentence1": "wo", "sentence2": text, "label": label}
        for text, label in (("hier", np.int64(1)), ("da", np.float32(0)), ("dort", np.bool_(False)))
    ]
    assert only(pairs) == {"query": "wo", "pos": ["hier"], "neg": ["da", "dort"]}
    record = {"query": "wo", "docs": np.array(["da", "hier"]), "labels": np.array([0, 1])}
    assert only([record]) == {"query": "wo", "pos": ["hier"], "neg": ["da"]}


@pytest.mark.parametrize("in_memory", [True, False])
def test_bytes_and_decimals_of_a_table_are_texts_and_numbers(tmp_path, in_memory):
    scores = [[Decimal("3.0"), Decimal("2.0"), Decimal("1.0")]]
    table = pa.table(
        {
            "query": pa.array([b"wo"]),
            "pos": [["hier"]],
            "neg": [["da", "dort"]],
            "teacher_scores": pa.array(scores, pa.list_(pa.decimal128(4, 1))),
            "qid": pa.array([Decimal(7)], pa.decimal128(9, 0)),
        }
    )
    pq.write_table(table, tmp_path / "rows.parquet")
    source = table if in_memory else str(tmp_path / "rows.parquet")
    assert only(source) == {**WANTED, "query_id": 7}


# -- structs of lists ------------------------------------------------------------------------------

PASSAGE = {"docid": "a", "title": "T", "text": "hier"}
TURN = {"role": "user", "content": "wo"}
CASES = {
    "tevatron": (
        {
            "query": "wo",
            "positive_passages": [PASSAGE],
            "negative_passages": [{**PASSAGE, "text": "da"}, {**PASSAGE, "text": "dort"}],
        },
        {"query": "wo", "pos": ["T hier"], "neg": ["T da", "T dort"]},
    ),
    "lightretriever": (
        {
            "query": "wo",
            "positive_passages": [{**PASSAGE, "ce_score": 2.0}],
            "negative_passages": [{**PASSAGE, "ce_score": 1.0}],
        },
        {"query": "wo", "pos": ["T hier"], "neg": ["T hier"], "teacher_scores": [2.0, 1.0]},
    ),
    "dpr": (
        {
            "question": "wo",
            "positive_ctxs": [PASSAGE],
            "negative_ctxs": [],
            "hard_negative_ctxs": [{**PASSAGE, "text": "da"}],
        },
        {"query": "wo", "pos": ["T hier"], "neg": ["T da"]},
    ),
    "musique": (
        {
            "question": "wo",
            "answer": "hier",
            "paragraphs": [
                {"title": "T", "paragraph_text": "hier", "is_supporting": True},
                {"title": "T", "paragraph_text": "da", "is_supporting": False},
            ],
        },
        {"query": "wo", "pos": ["T hier"], "neg": ["T da"]},
    ),
    "ms_swift": (
        {
            "messages": [TURN],
            "positive_messages": [[{**TURN, "content": "hier"}]],
            "negative_messages": [[{**TURN, "content": text}] for text in ("da", "dort")],
        },
        {"query": "wo", "pos": ["hier"], "neg": ["da", "dort"]},
    ),
    "nemo": (
        {"question": "wo", "pos_doc": [{"text": "hier"}], "neg_doc": [{"text": "da"}]},
        {"query": "wo", "pos": ["hier"], "neg": ["da"]},
    ),
}


def turned(value):
    """A value with each list of objects as the object of lists that a ``Sequence`` stores."""
    if isinstance(value, list) and value and all(isinstance(entry, dict) for entry in value):
        return {name: [turned(entry[name]) for entry in value] for name in value[0]}
    return [turned(entry) for entry in value] if isinstance(value, list) else value


@pytest.mark.parametrize("case", CASES)
def test_a_struct_of_lists_is_a_list_of_structs(tmp_path, case):
    record, wanted = CASES[case]
    as_stored = {name: turned(value) for name, value in record.items()}
    assert as_stored != record
    data = datasets.Dataset.from_list([as_stored])
    data.to_parquet(tmp_path / "rows.parquet")
    for source in ([record], [as_stored], data, str(tmp_path / "rows.parquet")):
        assert only(source) == wanted


def test_negatives_by_miner_stay_a_dict_of_lists(tmp_path):
    (tmp_path / "corpus.tsv").write_text("1\teins\n2\tzwei\n3\tdrei\n")
    (tmp_path / "queries.tsv").write_text("7\tworum geht es\n8\tworin liegt es\n")
    beside = {name: str(tmp_path / f"{name}.tsv") for name in ("corpus", "queries")}
    record = {"qid": 7, "pos": [1], "neg": {"bm25": [2], "dense": [3]}}
    assert only([record], **beside, miner="dense")["neg"] == ["drei"]


def test_lists_of_any_depth_are_bad_rows():
    deep = []
    for _ in range(5000):
        deep = [deep]
    for record in ({"query": "wo", "pos": deep}, {"query": "wo", "positive_passages": deep}):
        with pytest.raises(DataError, match="row 0"):
            list(read_rows([record]))


# -- empty cells of lists --------------------------------------------------------------------------


def test_an_empty_cell_in_a_column_of_lists_is_missing(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text('query,pos,neg,teacher_scores\na,"[""b""]","[""c""]","[2, 1]"\nd,"[""e""]",,\n')
    rows = list(read_rows(path))
    assert [row["teacher_scores"] for row in rows] == [[2.0, 1.0], None]
    assert [row["neg"] for row in rows] == [["c"], []]
