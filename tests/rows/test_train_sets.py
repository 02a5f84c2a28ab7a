"""Which training rows of a source are kept, and why the others are dropped."""

import re

import numpy as np
import pytest
from example_counts import tried
from hypothesis import given
from hypothesis import strategies as st
from set_cases import BEST, ROW, SCORED, train, write
from strategies import candidate_rows

from llm_embedder_data.config.recipes import load_recipe
from llm_embedder_data.core.errors import DataError
from llm_embedder_data.rows.schema.train import TRAIN_FIELDS
from llm_embedder_data.rows.selection.train_settings import TrainSettings
from llm_embedder_data.rows.settings.reading_settings import ReadingSettings
from llm_embedder_data.rows.sources.sources import resolve_sources
from llm_embedder_data.rows.train_sets import build_train_sets

BAD = [
    ('{"query": "q", "pos"', "not JSON: "),
    ("[1, 2]", "[1, 2] is not a JSON object (a row is {...})"),
    ('"text"', "'text' is not a JSON object"),
    ({"pos": ["p"], "neg": ["n"]}, "no query (a row needs a query)"),
    ({**ROW, "query": None}, "no query"),
    ({**ROW, "query": " \n"}, "query is blank (give it a text)"),
    ({**ROW, "query": 7}, "query=7 (a string is needed)"),
    ({**ROW, "query": "\ud800"}, r"query='\ud800' holds a lone surrogate, half of a character"),
    ({**ROW, "neg": ["n", "\ud83d"]}, "neg, entry 1 holds a lone surrogate"),
    ({**ROW, "pos": "p"}, "pos='p' (a list of strings is needed)"),
    ({**ROW, "pos": ["p", 3]}, "pos=['p', 3] (a list of strings is needed)"),
    ({**ROW, "pos": ["p", None]}, "pos holds a null (give a text, or take the entry out)"),
    ({**ROW, "neg": [None]}, "neg holds a null"),
    ({**ROW, "pos": ["p", "  "]}, "pos holds a blank text"),
    ({**ROW, "neg": {"text": "n"}}, "neg={'text': 'n'} (a list of strings is needed)"),
    ({"query": "q"}, "no pos, neg or history (a row needs candidates)"),
    ({"query": "q", "pos": [], "neg": []}, "no pos, neg or history"),
    ({"query": "q", "history": ["h", None]}, "history holds a null"),
    ({**ROW, "history": "h"}, "history='h' (a list of strings is needed)"),
    (
        {**ROW, "teacher_scores": [1.0]},
        "teacher_scores has 1 values for 1 positives and 2 negatives (3 are needed, or leave the",
    ),
    ({**ROW, "teacher_scores": []}, "teacher_scores has 0 values for 1 positives"),
    (
        {**ROW, "teacher_scores": [1, None, 2]},
        "teacher_scores=[1.0, None, 2.0] holds a value that is not a finite number (give a",
    ),
    (
        {**ROW, "teacher_scores": [1, float("nan"), 2]},
        "teacher_scores=[1.0, nan, 2.0] holds a value that is no",
    ),
    (
        {**ROW, "teacher_scores": [1, float("-inf"), 2]},
        "teacher_scores=[1.0, -inf, 2.0] holds a value that is no",
    ),
    (
        {**ROW, "teacher_scores": [1, -1e39, 2]},  # a batch would hold -inf
        "teacher_scores=[1.0, -1e+39, 2.0] holds a value that is beyond",
    ),
    ({**ROW, "teacher_scores": "best"}, "teacher_scores='best' (a list of numbers is needed)"),
    ({**ROW, "teacher_scores": [True, 0, 1]}, "teacher_scores=[True, 0, 1] (a list of numbers"),
    ({**ROW, "teacher_scores": [1, "2", 3]}, "teacher_scores=[1, '2', 3] (a list of numbers is"),
    ({**ROW, "teacher_scores": 3}, "teacher_scores=3 (a list of numbers is needed)"),
    ({**ROW, "query_id": 1.5}, "query_id=1.5 (an integer or a string is needed)"),
    ({**ROW, "query_id": 2**63}, f"query_id={2**63} is an integer over 64 bits (write it as a"),
    ({**ROW, "query_id": -(2**70)}, f"query_id={-(2**70)} is an integer over 64 bits"),
    ({**ROW, "query_id": True}, "query_id=True (an integer or a string is needed)"),
    ({**ROW, "query_id": "\ud800"}, r"query_id='\ud800' holds a lone surrogate"),
    (
        {**ROW, "teacher_scores": [2**60 + 1, 1, 0]},
        "teacher_scores=[1152921504606846977, 1, 0] holds",
    ),
    ({**ROW, "task": 3}, "task=3 (a string is needed)"),
    ({"query": "q", "pos": [], "neg": ["n"]}, "no positive, which select_positive='first' of task"),
]


@pytest.mark.parametrize(("bad", "sentence"), BAD)
def test_a_bad_row_is_one_error_that_names_file_row_line_and_remedy(tmp_path, bad, sentence):
    path = write(tmp_path, [ROW, "", bad, ROW])

    with pytest.raises(DataError, match=re.escape(f"{path}, row 1 (line 3): {sentence}")) as raised:
        train(path)

    assert "data.on_bad_row=skip" in str(raised.value)
    assert (raised.value.path, raised.value.row) == (str(path), 1)


@pytest.mark.parametrize(("bad", "sentence"), BAD)
def test_a_bad_row_can_be_skipped_and_is_counted(tmp_path, bad, sentence):
    [made] = train(write(tmp_path, [ROW, bad, ROW]), on_bad_row="skip")

    assert made.kept.tolist() == [0, 2]
    assert sum(made.dropped.values()) == 1
    assert set(made.dropped) <= {"bad_row", "no_positive"}
    if "bad_row" in made.dropped:
        assert f"row 1 (line 2): {sentence}" in made.notes[0]


def test_bad_rows_are_reported_together_and_the_first_ten_in_full(tmp_path):
    path = write(tmp_path, [ROW, *[{"query": i} for i in range(13)]])

    with pytest.raises(DataError) as raised:
        train(path)

    lines = str(raised.value).splitlines()
    assert [line.split(":")[0] for line in lines[:10]] == [
        f"{path}, row {row} (line {row + 1})" for row in range(1, 11)
    ]
    assert lines[10:] == [
        "... and 3 more bad rows",
        "(data.on_bad_row=skip skips and counts bad rows)",
    ]


def test_a_bad_row_of_a_second_file_is_counted_within_it_and_in_the_given_cache(tmp_path):
    first, second = write(tmp_path, [ROW] * 3), write(tmp_path, [ROW, {"query": "q"}])
    [source] = resolve_sources(
        {"both": [str(first), str(second)]}, setting="data.train_data", fields=TRAIN_FIELDS
    )

    with pytest.raises(DataError, match=re.escape(f"{second}, row 1 (line 2): no pos, neg")):
        build_train_sets(
            source,
            ReadingSettings(load_recipe("bge"), cache_dir=tmp_path / "cache"),
            settings_of=lambda task: TrainSettings(),
        )

    assert len(list((tmp_path / "cache").glob("*.arrow"))) == 2


@tried(60)
@given(
    st.lists(candidate_rows(min_pos=0), min_size=1, max_size=8),
    st.sampled_from(["first", "random", "teacher"]),
    st.sampled_from([None, 0.0, 1.0]),
    st.sampled_from([None, 0.5, 3.0]),
    st.sampled_from([None, 1, 3]),
    st.sampled_from(["drop", "keep"]),
)
def test_every_row_read_is_kept_or_counted(
    tmp_path_factory, rows, positive, minimum, margin, limit, on_no_negatives
):
    # The last but one passes every filter, so that something is left.
    rows = [{**row, "query": "q"} for row in rows] + [BEST, "no json"]
    path = write(tmp_path_factory.getbasetemp(), rows)

    [made] = train(
        path,
        on_bad_row="skip",
        on_no_negatives=on_no_negatives,
        settings=lambda task: TrainSettings(
            select_positive=positive,
            teacher_scores_min=minimum,
            teacher_scores_margin=margin,
            max_sample_num=limit,
        ),
    )

    assert made.n_read == len(rows) == len(made.kept) + sum(made.dropped.values())
    assert limit is None or len(made.kept) <= limit
    for number in made.kept:
        scores = rows[number].get("teacher_scores", [5.0, 0.0])
        assert minimum is None or max(scores) >= minimum
        assert margin is None or max(scores) - min(scores) >= margin


def test_score_filters_drop_rows_below_and_keep_rows_at_the_limit(tmp_path):
    scores = [[1.0, 0.0], [0.5, 0.0], [1.0, 0.6], [0.5, 0.4], None]
    rows = [
        {"query": "q", "pos": ["p"], "neg": ["n"], "teacher_scores": row_scores}
        for row_scores in scores
    ]
    path = write(tmp_path, rows)

    [by_min] = train(path, teacher_scores_min=1.0)
    [by_margin] = train(path, teacher_scores_margin=0.5)
    [by_both] = train(path, teacher_scores_min=1.0, teacher_scores_margin=0.5)

    assert (by_min.kept.tolist(), by_min.dropped) == ([0, 2, 4], {"teacher_scores_min": 2})
    assert by_margin.kept.tolist() == [0, 1, 4]
    assert by_margin.dropped == {"teacher_scores_margin": 2}
    assert by_both.kept.tolist() == [0, 4]
    assert by_both.dropped == {"teacher_scores_margin": 2, "teacher_scores_min": 1}
    assert by_both.n_scored == 1


def test_a_sample_is_drawn_from_everywhere_and_is_a_function_of_the_seed(tmp_path):
    path = write(tmp_path, [ROW] * 1000)

    [made] = train(path, max_sample_num=100)
    [again] = train(path, max_sample_num=100)
    [other] = train(path, max_sample_num=100, seed=7)

    assert made.kept.tolist() == again.kept.tolist() == sorted(set(made.kept.tolist()))
    assert made.dropped == {"max_sample_num": 900}
    assert made.kept.tolist() != other.kept.tolist()
    quarters = np.histogram(made.kept, bins=4, range=(0, 1000))[0]
    assert (quarters > 10).all()
    [of_source] = train(path, source={"max_sample_num": 30}, max_sample_num=100)
    assert len(of_source.kept) == 30


def test_rows_without_a_negative_are_dropped_or_kept_and_counted(tmp_path):
    alone = [{"query": "q", "pos": ["p"], "neg": neg} for neg in ([], None, ["p", "p"])]
    path = write(tmp_path, [ROW, *alone])

    [dropped] = train(path)
    [kept] = train(path, on_no_negatives="keep")

    assert (dropped.kept.tolist(), dropped.dropped) == ([0], {"no_negatives": 3})
    assert (kept.kept.tolist(), kept.dropped, kept.n_without_negatives) == ([0, 1, 2, 3], {}, 3)


def test_a_row_whose_only_negative_becomes_the_teachers_positive_has_no_negatives(tmp_path):
    row = {"query": "q", "pos": ["p"], "neg": ["n", "n"], "teacher_scores": [1.0, 2.0, 2.0]}
    path = write(tmp_path, [SCORED, row])

    assert train(path, select_positive="teacher")[0].dropped == {"no_negatives": 1}
    assert train(path, select_positive="teacher-pos")[0].dropped == {}


def test_dropping_all_rows_is_an_error_that_counts_the_reasons(tmp_path):
    path = write(tmp_path, [{**ROW, "neg": []}, {**SCORED, "teacher_scores": [0.0] * 3}])

    with pytest.raises(
        DataError,
        match=re.escape(
            f"{path}: none of the 2 rows of dataset 'qa' is left: dropped 1 for no_negatives, "
            "1 for teacher_scores_min (loosen the setting of that name; "
            "data.on_no_negatives=keep trains on pairs, with other queries' keys as negatives; the "
            "verb mine finds negatives; or leave the source out)"
        ),
    ):
        train(path, teacher_scores_min=1.0)


def test_an_option_of_a_source_is_not_read_as_a_field_name(tmp_path):
    path = write(tmp_path, [{**ROW, "task": "icl"}])

    [made] = train(path, source={"task": "qa", "weight": 2, "batch_size": 4})

    assert (made.task, made.weight, made.batch_size) == ("icl", 2, 4)


@pytest.mark.parametrize("ids", [["a", "b"], [7, 8]])
def test_ids_of_native_files_may_be_called_qid(tmp_path, ids):
    rows = [{**ROW, "qid": one} for one in ids]

    [train_set] = train(write(tmp_path, rows))

    name = "query_id_str" if isinstance(ids[0], str) else "query_id_int"
    assert train_set.format == "llm_embedder"
    assert train_set.rows.data.column(name).to_pylist() == ids


def test_a_query_id_is_read_before_a_qid_and_as_the_source_says(tmp_path):
    path = write(tmp_path, [{**ROW, "qid": "a", "query_id": "b", "number": "c"}])

    [both] = train(path)
    [named] = train(path, source={"query_id": "number"})

    assert both.rows.data.column("query_id_str").to_pylist() == ["b"]
    assert named.rows.data.column("query_id_str").to_pylist() == ["c"]


def test_queries_are_read_from_the_column_of_their_ids(tmp_path):
    path = write(tmp_path, [{"query_id": "q1", "positive_id": "d1", "negative_id": "d2"}])
    texts = {"queries": {"q1": "what is it"}, "corpus": {"d1": "one text", "d2": "another text"}}
    source = {"query": "query_id", "pos": "positive_id", "neg": "negative_id"}
    for name, found in texts.items():
        lines = "".join(f"{text_id}\t{text}\n" for text_id, text in found.items())
        (tmp_path / f"{name}.tsv").write_text(lines)
        source[name] = str(tmp_path / f"{name}.tsv")

    [found] = train(path, source=source)

    assert (found.rows[0]["query"], found.passages.texts(np.array(found.rows[0]["key"]))) == (
        "what is it",
        ["one text", "another text"],
    )
