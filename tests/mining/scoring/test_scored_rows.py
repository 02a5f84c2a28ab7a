"""Answers come from the record of a row, and never from another row's."""

import pytest
from scoring_cases import write_lines

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.mining.scoring.scored_rows import RowsToScore


def rows_of(source, **settings):
    return list(RowsToScore(source, needs_answers=True, settings=settings))


@pytest.mark.parametrize(
    ("fields", "answers"),
    [
        ({"answers": ["a", "b"]}, ("a", "b")),
        ({"answers": "a"}, ("a",)),
        ({"answer": "a"}, ("a",)),
        ({"answer": ["a"], "answers": None}, ("a",)),
        ({"answers": {"text": ["a"], "answer_start": [0]}}, ("a",)),
    ],
)
def test_answers_of_a_record(fields, answers):
    [row] = rows_of([{"query": "q", "pos": ["p"], "neg": ["n"], **fields}])

    assert row.answers == answers
    assert row.n_inputs == 2 * len(answers)


def test_answers_under_another_name():
    rows = [{"query": "q", "pos": ["p"], "gold": "a", "before": "c"}]

    [row] = rows_of({"path": rows, "answers": "gold", "context": "before"})

    assert (row.answers, row.context) == (("a",), "c")


def test_candidates_take_the_place_of_positives_and_negatives():
    [row] = rows_of([{"query": "q", "history": ["one", "two"], "answers": ["a"]}])

    assert row.keys == ["one", "two"]


@pytest.mark.parametrize("fields", [{}, {"answers": []}, {"answers": [""]}, {"answers": [3]}])
def test_a_row_without_answers_is_refused_or_kept_without(fields, tmp_path):
    lines = [{"query": "q", "pos": ["p"], "answers": ["a"]}, {"query": "r", "pos": ["p"], **fields}]
    path = write_lines(tmp_path / "rows.jsonl", lines)

    with pytest.raises(DataError, match=r"row 1 \(line 2\): .*answers"):
        rows_of(path)
    assert [row.answers for row in rows_of(path, on_bad_row="skip")] == [("a",), ()]


def test_a_format_whose_records_are_not_rows_has_no_answers(tmp_path):
    write_lines(tmp_path / "queries.jsonl", [{"_id": "1", "text": "q"}, {"_id": "2", "text": "r"}])
    write_lines(tmp_path / "corpus.jsonl", [{"_id": "d", "title": "", "text": "passage text"}])
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n1\td\t1\n2\td\t1\n")
    source = {
        "path": str(tmp_path / "qrels.tsv"),
        "queries": str(tmp_path / "queries.jsonl"),
        "corpus": str(tmp_path / "corpus.jsonl"),
    }

    with pytest.raises(DataError, match="has no answers"):
        rows_of(source)


def test_answers_of_a_record_without_the_query_are_refused():
    records = [
        {"query_id": 1, "query": "q", "doc_id": "a", "text": "A", "rank": 1, "answers": ["x"]},
        {"query_id": 2, "query": "r", "doc_id": "b", "text": "B", "rank": 1, "answers": ["y"]},
    ]

    # This format reads all records before it gives the first row.
    with pytest.raises(DataError, match="does not stand in the record"):
        rows_of(records)
