"""Which rows of a source are used, and what became of the others."""

import itertools
import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import candidate_rows

from llm_embedder_data.config import ConfigError
from llm_embedder_data.config.recipes import load_recipe
from llm_embedder_data.core.errors import DataError
from llm_embedder_data.rows.corpora import build_corpus
from llm_embedder_data.rows.eval_sets import build_eval_sets
from llm_embedder_data.rows.key_templates import template_fields
from llm_embedder_data.rows.reading_settings import ReadingSettings
from llm_embedder_data.rows.schema.evaluation import eval_fields
from llm_embedder_data.rows.schema.train import TRAIN_FIELDS
from llm_embedder_data.rows.sources import resolve_sources
from llm_embedder_data.rows.train_sets import build_train_sets
from llm_embedder_data.rows.train_settings import TrainSettings

COUNT = itertools.count()
ROW = {"query": "q", "pos": ["p"], "neg": ["n", "m"]}
SCORED = {**ROW, "teacher_scores": [3.0, 2.0, 1.0]}
BEST = {**ROW, "teacher_scores": [9.0, 2.0, 1.0]}


def write(folder, lines, name="train.jsonl"):
    path = folder / str(next(COUNT)) / "qa" / name
    path.parent.mkdir(parents=True)
    lines = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(lines))
    return path


def train(
    path,
    *,
    source=None,
    recipe="llm_embedder",
    default_task="qa",
    on_bad_row="raise",
    on_no_negatives="drop",
    seed=42,
    settings=None,
    **given,
):
    """The training sets of a file, in ``path``'s own cache."""
    [resolved] = resolve_sources(
        {"path": str(path), **(source or {})}, key="data.train_data", fields=TRAIN_FIELDS
    )
    return build_train_sets(
        resolved,
        ReadingSettings(
            load_recipe(recipe),
            default_task=default_task,
            on_bad_row=on_bad_row,
            cache_dir=path.parent / "cache",
        ),
        settings_of=settings or (lambda task: TrainSettings(**given, asked=frozenset(given))),
        on_no_negatives=on_no_negatives,
        seed=seed,
    )


# -- rows that break a rule ------------------------------------------------------------------------

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


def test_several_bad_rows_are_reported_together_the_first_ten_in_full(tmp_path):
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
        {"both": [str(first), str(second)]}, key="data.train_data", fields=TRAIN_FIELDS
    )

    with pytest.raises(DataError, match=re.escape(f"{second}, row 1 (line 2): no pos, neg")):
        build_train_sets(
            source,
            ReadingSettings(load_recipe("bge"), cache_dir=tmp_path / "cache"),
            settings_of=lambda task: TrainSettings(),
        )

    assert len(list((tmp_path / "cache").glob("*.arrow"))) == 2


# -- filters ---------------------------------------------------------------------------------------


@settings(max_examples=60)
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
    rows = [{"query": "q", "pos": ["p"], "neg": ["n"], "teacher_scores": one} for one in scores]
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


def test_a_row_whose_only_negative_the_teacher_takes_has_none_left(tmp_path):
    row = {"query": "q", "pos": ["p"], "neg": ["n", "n"], "teacher_scores": [1.0, 2.0, 2.0]}
    path = write(tmp_path, [SCORED, row])

    assert train(path, select_positive="teacher")[0].dropped == {"no_negatives": 1}
    assert train(path, select_positive="teacher-pos")[0].dropped == {}


def test_nothing_left_is_an_error_that_counts_the_reasons(tmp_path):
    path = write(tmp_path, [{**ROW, "neg": []}, {**SCORED, "teacher_scores": [0.0] * 3}])

    with pytest.raises(
        DataError,
        match=re.escape(
            f"{path}: none of the 2 rows of dataset 'qa' is left: dropped 1 for no_negatives, "
            "1 for teacher_scores_min (loosen the setting of that name; "
            "data.on_no_negatives=keep keeps rows without; or leave the source out)"
        ),
    ):
        train(path, teacher_scores_min=1.0)


# -- settings that need teacher scores -------------------------------------------------------------

NEEDING = [
    {"select_positive": "teacher"},
    {"select_positive": "teacher-pos"},
    {"select_negative": "teacher+"},
    {"select_negative": "teacher-"},
    {"stable_distill": True},
]


@pytest.mark.parametrize("needing", NEEDING)
def test_a_setting_asked_for_that_needs_scores_is_an_error_without(tmp_path, needing):
    [(name, value)] = needing.items()
    path = write(tmp_path, [SCORED, ROW])

    with pytest.raises(
        DataError,
        match=re.escape(
            f"{path}, row 1 (line 2): no teacher_scores, which {name}={value!r} needs for task "
            "'qa'; 1 of 2 rows have none (score the rows, or take the setting back)"
        ),
    ):
        train(path, **needing)


@pytest.mark.parametrize("needing", NEEDING)
def test_a_setting_of_the_recipe_gives_way_where_no_row_has_scores(tmp_path, needing):
    [made] = train(write(tmp_path, [ROW, ROW]), settings=lambda task: TrainSettings(**needing))

    [(name, value)] = needing.items()
    assert made.settings == TrainSettings()
    assert made.notes[-1] == (
        f"dataset 'qa' has no teacher_scores: the recipe's {name}={value!r} for task 'qa' gives "
        "way, and it is trained with the contrastive loss alone"
    )


@pytest.mark.parametrize("needing", NEEDING)
def test_a_setting_of_the_recipe_holds_where_some_rows_have_scores(tmp_path, needing):
    [made] = train(write(tmp_path, [SCORED, ROW]), settings=lambda task: TrainSettings(**needing))

    assert made.settings == TrainSettings(**needing)
    assert "1 of 2 rows have no teacher_scores" in made.notes[-1]
    assert made.n_scored == 1


def test_data_with_scores_takes_every_setting_without_a_word(tmp_path):
    [made] = train(write(tmp_path, [{**SCORED, "task": "qa"}]), stable_distill=True)

    assert made.settings.stable_distill
    assert made.notes == ()


# -- tasks -----------------------------------------------------------------------------------------


def test_a_rows_own_task_comes_before_the_sources_and_that_before_the_default(tmp_path):
    path = write(tmp_path, [ROW, {**ROW, "task": "icl"}])
    plain = write(tmp_path, [ROW])

    assert {one.task: one.kept.tolist() for one in train(path, source={"task": "chat"})} == {
        "chat": [0],
        "icl": [1],
    }
    assert [one.task for one in train(plain, source={"task": "chat"})] == ["chat"]
    [made] = train(plain, default_task="tool")
    assert made.task == "tool"
    assert made.notes == ("1 rows name no task: taken as 'tool' (data.default_task)",)


def test_rows_of_several_tasks_are_a_dataset_a_task(tmp_path):
    rows = [{**ROW, "task": task} for task in ("qa", "icl", "qa")] + ["no json"]
    sets = train(write(tmp_path, rows), on_bad_row="skip", max_sample_num=1)

    assert [(one.name, one.task, one.n_read) for one in sets] == [
        ("qa:icl", "icl", 2),  # the bad row is counted with the first
        ("qa:qa", "qa", 2),
    ]
    assert [one.dropped for one in sets] == [{"bad_row": 1}, {"max_sample_num": 1}]


def test_rows_without_a_task_beside_rows_of_another_are_an_error(tmp_path):
    path = write(tmp_path, [{**ROW, "task": "icl"}, ROW])

    with pytest.raises(
        DataError,
        match=re.escape(
            f"{path}, row 1 (line 2): no task, while other rows of the source name 'icl' (name a "
            "task in every row, or give the source a task)"
        ),
    ):
        train(path)


def test_what_a_bad_row_says_of_its_task_does_not_count(tmp_path):
    path = write(tmp_path, [ROW, {"query": "q", "task": "nonsense"}])

    [made] = train(path, on_bad_row="skip")

    assert (made.task, made.kept.tolist()) == ("qa", [0])


def test_a_task_that_the_recipe_does_not_know_is_an_error_with_those_it_knows(tmp_path):
    path = write(tmp_path, [{**ROW, "task": "qa"}, {**ROW, "task": "tools"}])

    with pytest.raises(
        DataError, match=re.escape(f"{path}, row 1 (line 2): task 'tools' is not")
    ) as e:
        train(path)

    assert "which knows chat, convsearch, icl, lrlm, qa, tool; did you mean 'tool'?" in str(e.value)
    assert [one.task for one in train(path, recipe="bge")] == ["qa", "tools"]


def test_no_setting_of_a_source_is_taken_for_the_name_of_a_field(tmp_path):
    path = write(tmp_path, [{**ROW, "task": "icl"}])

    [made] = train(path, source={"task": "qa", "weight": 2, "batch_size": 4})

    assert (made.task, made.weight, made.batch_size) == ("icl", 2, 4)


# -- eval sets and corpora -------------------------------------------------------------------------


def evaluate(path, method="retrieve", **more):
    [source] = resolve_sources(str(path), key="data.eval_data", fields=eval_fields(method))
    return build_eval_sets(
        source,
        ReadingSettings(load_recipe("llm_embedder"), cache_dir=path.parent / "cache", **more),
        eval_method=method,
    )


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
def test_a_bad_eval_row_is_named_or_skipped(tmp_path, method, bad, sentence):
    path = write(tmp_path, [{"query": "q", "key": ["k"]}, bad])

    with pytest.raises(DataError, match=re.escape(f"{path}, row 1 (line 2): {sentence}")):
        evaluate(path, method)

    [made] = evaluate(path, method, on_bad_row="skip")
    assert (made.kept.tolist(), made.n_read, made.dropped) == ([0], 2, {"bad_row": 1})


def test_an_eval_set_of_bad_rows_only_is_an_error(tmp_path):
    path = write(tmp_path, [{"pos_index": [1]}])

    with pytest.raises(
        DataError, match="none of the 1 rows of dataset 'qa' is left: dropped 1 for bad"
    ):
        evaluate(path, on_bad_row="skip")


def test_eval_rows_of_several_tasks_are_a_set_a_task(tmp_path):
    path = write(tmp_path, [{"query": "a", "task": "qa"}, {"query": "b", "task": "tool"}])

    assert [(one.name, one.kept.tolist()) for one in evaluate(path)] == [
        ("qa:qa", [0]),
        ("qa:tool", [1]),
    ]


def corpus(path, template="{title} {text}", **more):
    [source] = resolve_sources(
        {"path": str(path), **more.pop("source", {})},
        key="data.corpus",
        fields=template_fields(template),
        settings=("format", "key_template"),
    )
    return build_corpus(
        source,
        ReadingSettings(load_recipe("bge"), cache_dir=path.parent / "cache", **more),
        key_template=template,
    )


def test_a_key_is_its_fields_put_into_the_template(tmp_path):
    rows = [
        {"title": "T", "text": "with {braces} and {text}"},
        {"title": None, "text": "alone"},
        {"title": "  kept as it is ", "text": "x "},
        {"title": 1984, "text": "a number"},
        {"title": "", "text": ""},
    ]
    made = corpus(write(tmp_path, rows))

    assert made.texts(np.arange(5)) == [
        "T with {braces} and {text}",
        "alone",
        "  kept as it is  x ",
        "1984 a number",
        "",
    ]
    assert made.text(0) == "T with {braces} and {text}"


def test_a_template_may_repeat_order_and_surround_its_fields(tmp_path):
    made = corpus(write(tmp_path, [{"a": "1", "b": "2"}]), template="{b}-{a}-{b} {{x}}")

    assert made.fields == ("b", "a")
    assert made.text(0) == "2-1-2 {x}"


def test_a_corpus_without_titles_is_its_texts_and_says_so(tmp_path):
    made = corpus(write(tmp_path, [{"text": "one"}]))

    assert made.text(0) == "one"
    assert made.notes == ("no record has a title: the key text is the text alone",)


@pytest.mark.parametrize(
    ("row", "template", "sentence"),
    [
        (
            {"text": "x"},
            "{body}",
            "no record has the field 'body' of key_template='{body}'; there are",
        ),
        (
            {"titel": "x", "text": "y"},
            "{title} {text}",
            "there are text, titel; did you mean 'titel'?",
        ),
        ({"content": "x"}, "{title} {text}", "no record has the field 'title', 'text'"),
    ],
)
def test_a_field_of_the_template_that_is_nowhere_is_an_error(tmp_path, row, template, sentence):
    path = write(tmp_path, [row])

    with pytest.raises(DataError, match=re.escape(sentence)):
        corpus(path, template)


def test_a_source_has_its_own_template_and_names_of_fields(tmp_path):
    path = write(tmp_path, [{"head": "T", "text": "x"}])

    assert corpus(path, source={"title": "head"}).text(0) == "T x"
    assert corpus(path, source={"key_template": "<{text}>"}).text(0) == "<x>"


def test_a_bad_record_of_a_corpus_is_named_or_skipped(tmp_path):
    path = write(tmp_path, [{"text": "x"}, {"text": ["y"]}, {"text": "\ud800"}])

    with pytest.raises(
        DataError, match=re.escape("row 1 (line 2): text=['y'] (a string is needed)")
    ):
        corpus(path)

    made = corpus(path, on_bad_row="skip")
    assert (made.kept.tolist(), made.dropped) == ([0], {"bad_row": 2})


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        (
            "{text.__class__}",
            "expected plain field names such as {title}, without attribute, index",
        ),
        ("{text[0]}", "expected plain field names"),
        ("{text!r}", "expected plain field names"),
        ("{text:>9}", "expected plain field names"),
        ("{}", "expected plain field names"),
        ("text", "expected at least one field such as {text}"),
        ("{text", "(write fields as {name})"),
    ],
)
def test_a_template_with_more_than_names_is_refused(template, sentence):
    with pytest.raises(ConfigError, match=re.escape(f"data.key_template={template!r}: ")) as raised:
        template_fields(template)

    assert sentence in str(raised.value)
