"""Scores of whole rows, joined to the rows by their texts."""

import json

import pytest
from example_counts import tried
from hypothesis import given
from hypothesis import strategies as st

from llm_embedder_data import DataError, read_rows
from llm_embedder_data.rows.foreign_rows.row_reader import RowReader
from llm_embedder_data.rows.side_cars.row_scores import digest_of_texts, keys_of

TEXTS = st.text(min_size=1, max_size=4)


@tried(30)
@given(st.lists(TEXTS, min_size=1), st.lists(TEXTS, min_size=1))
def test_other_texts_have_another_digest(texts, others):
    same = texts == others

    assert (digest_of_texts(texts[0], texts[1:]) == digest_of_texts(others[0], others[1:])) is same


ROWS = [
    {"query": "first query", "query_id": 7, "pos": ["a text"], "neg": ["b text", "c text"]},
    {"query": "second query", "query_id": 7, "pos": ["d text"], "neg": []},
    {"query": "third query", "history": ["e text", "f text"]},
]


@pytest.fixture
def write(tmp_path):
    def call(name, lines):
        path = tmp_path / name
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return str(path)

    return call


def score_lines(rows, scores):
    return [
        {
            "query_id": row["query_id"],
            "scores": of_row,
            "digest": digest_of_texts(row["query"], keys),
        }
        for row, of_row in zip(rows, scores, strict=True)
        for keys in [keys_of(row)]
    ]


SCORES = [[1.0, 2.0, 3.0], [4.0], [5.0, 6.0]]


@pytest.fixture
def files(write):
    path = write("rows.jsonl", ROWS)
    return path, score_lines(list(read_rows(path)), SCORES)


def scores_read(path, scores, **settings):
    rows = read_rows({"path": path, "scores": scores}, **settings)
    return [row["teacher_scores"] for row in rows]


def test_rows_find_their_scores_in_any_order_and_with_repeated_or_missing_ids(files, write):
    path, lines = files

    assert scores_read(path, write("scores.jsonl", lines[::-1])) == SCORES


def test_scores_may_lie_in_several_files_or_in_memory(files, write):
    path, lines = files

    assert scores_read(path, [write("1.jsonl", lines[:1]), write("2.jsonl", lines[1:])]) == SCORES
    assert scores_read(path, lines) == SCORES


def test_scores_of_other_texts_are_refused_in_one_sentence(files, write):
    _, lines = files
    other = write("other.jsonl", [{**ROWS[0], "neg": ["b text", "changed"]}, *ROWS[1:]])
    scores = write("scores.jsonl", lines)

    with pytest.raises(DataError) as refused:
        scores_read(other, scores)

    sentence = str(refused.value)
    assert "other.jsonl, row 0 (line 1)" in sentence
    assert "its scores of query id 7 are those of other texts" in sentence
    assert "\n" not in sentence
    assert scores_read(other, scores, on_bad_row="skip") == [None, *SCORES[1:]]


def test_a_score_that_no_batch_can_hold_is_an_error(files, write):
    path, lines = files
    wrong = {**lines[0], "scores": [1e39 for _ in lines[0]["scores"]]}

    with pytest.raises(DataError, match=r"expected finite numbers of 32 bits, found 1e\+39"):
        scores_read(path, write("scores.jsonl", [wrong, *lines[1:]]))


def test_a_row_that_is_not_in_the_file_is_refused_or_counted(files, write):
    path, lines = files
    scores = write("scores.jsonl", lines[:2])

    with pytest.raises(DataError, match=r"row 2 \(line 3\).*it has no scores of this row"):
        scores_read(path, scores)
    reader = RowReader({"path": path, "scores": scores}, on_bad_row="skip")
    assert [row["teacher_scores"] for row in reader.rows()] == [*SCORES[:2], None]
    [found] = [found for found in reader.report if found.format == "llm_embedder"]
    assert found.left_out == {"rows without scores in the file of scores": 1}


def test_a_row_that_has_null_for_scores_has_none(files, write):
    path, lines = files
    lines[1]["scores"] = None

    assert scores_read(path, write("scores.jsonl", lines)) == [SCORES[0], None, SCORES[2]]


def test_another_number_of_scores_than_keys_is_refused(files, write):
    path, lines = files
    lines[0]["scores"] = [1.0, 2.0]

    with pytest.raises(DataError, match="2 scores for 3 keys"):
        scores_read(path, write("scores.jsonl", lines))


@pytest.mark.parametrize("bad", ["x", [1, "x"], [True], [float("nan")], 3])
def test_scores_that_are_no_numbers_are_refused(files, write, bad):
    path, lines = files
    lines[1]["scores"] = bad

    with pytest.raises(DataError, match=r"scores\.jsonl, row 1 \(line 2\): scores: expected"):
        scores_read(path, write("scores.jsonl", lines))


def test_lines_without_digest_are_joined_by_unique_query_ids(write):
    rows = [{**row, "query_id": i} for i, row in enumerate(ROWS)]
    path = write("rows.jsonl", rows)
    lines = [{"query_id": i, "scores": scores} for i, scores in enumerate(SCORES)]

    assert scores_read(path, write("scores.jsonl", lines)) == SCORES
    with pytest.raises(DataError, match="query id 1 has scores in two lines"):
        scores_read(path, write("again.jsonl", [*lines, lines[1]]))


def test_files_of_both_kinds_are_refused(files, write):
    path, lines = files
    run = [{"query_id": 7, "doc_id": "d", "score": 1.0}]

    with pytest.raises(ValueError, match="the scores of whole rows, and another file those of doc"):
        scores_read(path, [write("scores.jsonl", lines), write("run.jsonl", run)])


def test_mined_negatives_come_before_their_scores(write):
    path = write("rows.jsonl", ROWS[:1])
    corpus = write("corpus.jsonl", [{"id": "m", "text": "a mined text"}])
    run = write("run.jsonl", [{"query_id": 7, "doc_id": "m", "score": 1.0}])
    source = {"path": path, "negatives": run, "corpus": corpus}
    [row] = read_rows(source)
    scores = write("scores.jsonl", score_lines([row], [[1.0, 2.0, 3.0, 4.0]]))

    [found] = read_rows({**source, "scores": scores})

    assert found["neg"][-1] == "a mined text"
    assert found["teacher_scores"] == [1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize("name", ["negatives", "scores"])
@pytest.mark.parametrize("on_bad_row", ["raise", "skip"])
def test_a_run_of_other_queries_is_refused_with_an_id_of_each_side(write, name, on_bad_row):
    rows = [{"query_id": 7, "query": "a query", "pos": ["a good text"], "neg": ["a bad text"]}]
    path, corpus = write("rows.jsonl", rows), [{"_id": "d1", "text": "a good text"}]
    settings = {"corpus": corpus, "on_bad_row": on_bad_row}
    run = [{"query_id": "q7", "doc_id": "d1", "score": 1.5}]
    with pytest.raises(DataError, match=f"file of {name}: the rows have ids such as '7', .*'q7'"):
        list(read_rows(str(path), **{name: str(write("run.jsonl", run))}, **settings))
    run.append({"query_id": 7, "doc_id": "d1", "score": 1.5})
    assert len(list(read_rows(str(path), **{name: str(write("run.jsonl", run))}, **settings))) == 1
