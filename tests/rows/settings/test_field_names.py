"""Fields of any name; and no column is read for two fields."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from example_counts import tried
from hypothesis import given
from hypothesis import strategies as st

from llm_embedder_data import ConfigError, DataError
from llm_embedder_data.config.recipes import load_recipe
from llm_embedder_data.rows.corpora import build_corpus
from llm_embedder_data.rows.eval_sets import build_eval_sets
from llm_embedder_data.rows.schema.evaluation import eval_fields
from llm_embedder_data.rows.schema.train import TRAIN_FIELDS
from llm_embedder_data.rows.selection.train_settings import TrainSettings
from llm_embedder_data.rows.settings.key_templates import template_fields
from llm_embedder_data.rows.settings.reading_settings import ReadingSettings
from llm_embedder_data.rows.sources.sources import resolve_sources
from llm_embedder_data.rows.train_sets import build_train_sets

NAMES = [
    "fault",
    "field_1",
    "field_0",
    "index",
    "content",
    "query_id_int",
    "text_str",
    "文 本",
    "a-b",
]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def corpus(path, template, **renamed):
    [source] = resolve_sources(
        {"c": {"path": path, **renamed}},
        setting="data.corpus",
        fields=template_fields(template),
        options=("format", "key_template"),
    )
    return build_corpus(source, ReadingSettings(load_recipe("bge")), key_template=template)


@pytest.mark.parametrize("ending", ["jsonl", "json", "parquet"])
def test_a_field_may_have_the_name_of_an_internal_column(tmp_path, ending):
    rows = [{name: f"{name} {i}" for name in NAMES} for i in range(3)]
    path = tmp_path / f"corpus.{ending}"
    if ending == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        text = json.dumps(rows) if ending == "json" else "\n".join(map(json.dumps, rows))
        path.write_text(text)

    for fields in (NAMES, NAMES[::-1], *([name] for name in NAMES)):
        made = corpus(str(path), "|".join(f"{{{name}}}" for name in fields))
        assert [made.text(i) for i in range(3)] == [
            "|".join(f"{name} {i}" for name in fields) for i in range(3)
        ]


names = st.text(st.characters(exclude_characters=".[]{}!:", exclude_categories=["Cs"]), min_size=1)


@given(
    st.lists(
        names.filter(lambda name: name.strip() and not name.isdigit()), min_size=1, unique=True
    )
)
@tried(60)
def test_fields_of_any_name_are_read(tmp_path, fields):
    rows = [{name: f"{index} {i}" for index, name in enumerate(fields)} for i in range(2)]
    made = corpus(write(tmp_path / "c.jsonl", rows), "\n".join(f"{{{name}}}" for name in fields))

    assert made.text(1) == "\n".join(f"{index} 1" for index in range(len(fields)))


def test_a_wrong_value_is_named_by_its_column(tmp_path):
    path = write(tmp_path / "c.jsonl", [{"body": "x"}, {"body": ["y"]}])

    with pytest.raises(DataError, match=r"row 1 \(line 2\): body=\['y'\] \(a string is needed\)"):
        corpus(path, "{text}", text="body")


def test_two_fields_may_swap_their_columns(tmp_path):
    path = write(tmp_path / "c.jsonl", [{"title": "T", "text": "x"}])

    assert corpus(path, "{title}|{text}", title="text", text="title").text(0) == "x|T"
    assert corpus(path, "{title}|{text}").text(0) == "T|x"


@pytest.mark.parametrize("renamed", [{"title": "text"}, {"title": "a", "text": "a"}])
def test_two_fields_of_one_column_are_refused(tmp_path, renamed):
    path = write(tmp_path / "c.jsonl", [{"title": "T", "text": "x", "a": "y"}])

    with pytest.raises(ConfigError, match=r"'t[a-z]*' and 't[a-z]*' would both be"):
        corpus(path, "{title} {text}", **renamed)


@pytest.mark.parametrize("name", ["", True, [], [""], {"a": 1}, 1.5, "\ud800"])
def test_an_invalid_column_name_is_refused(tmp_path, name):
    path = write(tmp_path / "c.jsonl", [{"title": "T", "text": "x"}])

    with pytest.raises(ConfigError, match=r"data\.corpus\.c\.title"):
        corpus(path, "{title} {text}", title=name)


ROW = {"query": "q", "pos": ["p"], "neg": ["n"], "task": "qa", "more": ["m"], "7": ["s"]}


def train(path, **renamed):
    [source] = resolve_sources(
        {"t": {"path": path, **renamed}}, setting="data.train_data", fields=TRAIN_FIELDS
    )
    [made] = build_train_sets(
        source, ReadingSettings(load_recipe("bge")), settings_of=lambda task: TrainSettings()
    )
    return made.rows[0]["key"]


def test_train_fields_may_swap_their_columns_or_take_others(tmp_path):
    path = write(tmp_path / "t.jsonl", [ROW])

    assert train(path) == ["p", "n"]
    assert train(path, pos="neg", neg="pos") == ["n", "p"]
    assert train(path, pos="more") == ["m", "n"]
    assert train(path, pos=7) == ["s", "n"]


@pytest.mark.parametrize(
    ("renamed", "fields"),
    [
        ({"pos": "neg"}, "'neg' and 'pos'"),
        ({"pos": "more", "neg": "more"}, "'pos' and 'neg'"),
        ({"pos": "history"}, "'history' and 'pos'"),
        ({"query": "task"}, "'task' and 'query'"),
        ({"query_id": "query"}, "'query' and 'query_id'"),
    ],
)
def test_train_fields_of_one_column_are_refused(tmp_path, renamed, fields):
    path = write(tmp_path / "t.jsonl", [ROW])

    with pytest.raises(ConfigError, match=f"source 't': {fields} would both be read from the"):
        train(path, **renamed)


@pytest.mark.parametrize("method", ["retrieve", "rerank"])
def test_eval_fields_of_one_column_are_refused(tmp_path, method):
    path = write(tmp_path / "e.jsonl", [{"query": "q", "pos_index": [0], "key": ["a"]}])
    fields = [name for name in eval_fields(method) if name != "task"]
    [source] = resolve_sources(
        {"e": {"path": path, "query": "task"}},
        setting="data.eval_data",
        fields=fields,
        options=("task", "format"),
    )

    with pytest.raises(ConfigError, match="'task' and 'query' would both be read"):
        build_eval_sets(source, ReadingSettings(load_recipe("bge")), eval_method=method)
