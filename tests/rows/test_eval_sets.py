"""Which eval rows of a source are used."""

import re

import pytest
from set_cases import evaluate, write

from llm_embedder_data.core.errors import DataError


@pytest.mark.parametrize(
    ("method", "bad", "sentence"),
    [
        ("retrieve", {"pos_index": [1]}, "no query (a row needs a query)"),
        ("retrieve", {"query": "q", "pos_index": 1}, "pos_index=1 (a list of integers is needed)"),
        ("retrieve", {"query": "q", "pos_index": [1.5]}, "pos_index=[1.5] (a list of integers is"),
        (
            "retrieve",
            {"query": "q", "pos_index": [None]},
            "pos_index=[None] (a list of integers is",
        ),
        ("rerank", {"query": "q"}, "no candidates (reranking needs key, or pos and neg)"),
        ("rerank", {"query": "q", "key": []}, "no candidates"),
        ("rerank", {"query": "q", "key": ["k", None]}, "a candidate is null (give a text, or"),
        ("rerank", {"query": "q", "key": ["k"], "key_index": [1, 2]}, "2 indices for 1 candidates"),
        ("rerank", {"query": "q", "key": "k"}, "key='k' (a list of strings is needed)"),
    ],
)
def test_a_bad_eval_row_is_an_error_or_is_skipped(tmp_path, method, bad, sentence):
    path = write(tmp_path, [{"query": "q", "key": ["k"]}, bad])

    with pytest.raises(DataError, match=re.escape(f"{path}, row 1 (line 2): {sentence}")):
        evaluate(path, method)

    [made] = evaluate(path, method, on_bad_row="skip")
    assert (made.kept.tolist(), made.n_read, made.dropped) == ([0], 2, {"bad_row": 1})


def test_an_eval_set_with_only_bad_rows_is_an_error(tmp_path):
    path = write(tmp_path, [{"pos_index": [1]}])

    with pytest.raises(
        DataError, match="none of the 1 rows of dataset 'qa' is left: dropped 1 for bad"
    ):
        evaluate(path, on_bad_row="skip")


def test_eval_rows_of_several_tasks_become_one_eval_set_per_task(tmp_path):
    path = write(tmp_path, [{"query": "a", "task": "qa"}, {"query": "b", "task": "tool"}])

    assert [(eval_set.name, eval_set.kept.tolist()) for eval_set in evaluate(path)] == [
        ("qa:qa", [0]),
        ("qa:tool", [1]),
    ]
