"""Canonical rows of everything that a source may be, and the report of what was found."""

import io
import json
import os
import re
from pathlib import Path

import datasets
import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from file_cases import read

from llm_embedder_data.core.errors import ConfigError, DataError
from llm_embedder_data.rows.foreign_rows.row_reader import RowReader
from llm_embedder_data.rows.read_rows import read_rows

ROWS = [
    {"query": "why does rye not rise", "pos": ["Little gluten."], "neg": ["Kilns.", "Tides."]},
    {"query": "what is a tide table", "pos": ["It lists high water."], "neg": []},
]


@pytest.fixture
def jsonl(tmp_path):
    def write(name, rows=ROWS):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return write


def plain(rows):
    return [{name: row[name] for name in ("query", "pos", "neg")} for row in rows]


def queries(source, **settings):
    return [row["query"] for row in read_rows(source, **settings)]


def in_memory():
    dataset = datasets.Dataset.from_list(ROWS)
    return {
        "list": ROWS,
        "Dataset": dataset,
        "shuffled Dataset": dataset.select([1, 0]).select([1, 0]),
        "DatasetDict": datasets.DatasetDict({"test": dataset.select([0]), "train": dataset}),
        "IterableDataset": dataset.to_iterable_dataset(),
        "Table": dataset.data.table,
        "DataFrame": pd.DataFrame(ROWS),
    }


@pytest.mark.parametrize("kind", in_memory())
def test_data_in_memory(kind):
    assert plain(read_rows(in_memory()[kind])) == ROWS


NOT_UTF8 = pa.Array.from_buffers(
    pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\4\0\0\0"), pa.py_buffer(b"caf\xe9")]
)


@pytest.mark.parametrize("kind", ["Table", "RecordBatch", "DataFrame"])
def test_a_column_of_a_table_in_memory_that_appears_twice_is_refused(kind):
    table = pa.table([["q"], ["r"], [["p"]]], names=["query", "query", "pos"])
    frame = pd.DataFrame([["q", "r", ["p"]]], columns=["query", "query", "pos"])
    found = {"Table": table, "RecordBatch": table.to_batches()[0], "DataFrame": frame}[kind]

    with pytest.raises(DataError, match="the column 'query' appears twice"):
        list(read_rows(found))


def test_a_column_of_a_table_in_memory_that_is_not_utf8_is_named():
    table = pa.table([NOT_UTF8, [["p"]]], names=["query", "pos"])

    with pytest.raises(DataError, match="the column 'query' holds values that are invalid"):
        list(read_rows(table))


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([1e39, 0.0, 1.0], r"1e\+39 is beyond 3\.40e\+38"),
        ([10**400, 0, 1], "is beyond 3"),
        (np.array(["1", "0", "1"]), "expected numbers, found '1'"),
    ],
)
def test_a_score_that_no_batch_can_hold_is_an_error(scores, message):
    with pytest.raises(DataError, match=message):
        list(read_rows([{**ROWS[0], "teacher_scores": scores}]))


def test_a_frame_without_some_values_and_of_mixed_types():
    frame = pd.DataFrame(
        {"query": ["q", "r"], "pos": ["p", "s"], "neg": ["n", float("nan")], "x": [1, "one"]}
    )

    assert [row["neg"] for row in read_rows(frame)] == [["n"], []]


def test_a_frame_of_polars_is_known_by_its_class():
    class DataFrame:
        def to_arrow(self):
            return pa.Table.from_pylist(ROWS)

    DataFrame.__module__ = "polars.dataframe.frame"

    assert plain(read_rows(DataFrame())) == ROWS


@pytest.mark.parametrize("saved", ["Dataset", "DatasetDict"])
def test_a_folder_of_save_to_disk(tmp_path, saved):
    in_memory()[saved].save_to_disk(tmp_path / "saved")

    assert plain(read_rows(tmp_path / "saved")) == ROWS


def test_a_dataset_dict_on_disk_has_the_split_that_was_asked_for(tmp_path):
    in_memory()["DatasetDict"].save_to_disk(tmp_path / "saved")

    assert len(list(read_rows(tmp_path / "saved", split="test"))) == 1
    with pytest.raises(ConfigError, match=r"split='tset'.*did you mean 'test'"):
        list(read_rows(tmp_path / "saved", split="tset"))


def test_a_path_a_pattern_a_folder_and_lists_of_them(jsonl, tmp_path):
    one, two = jsonl("one/a.jsonl", ROWS[:1]), jsonl("two/b.jsonl", ROWS[1:])

    assert plain(read_rows(one)) == ROWS[:1]
    assert plain(read_rows(str(tmp_path / "*" / "*.jsonl"))) == ROWS
    assert plain(read_rows(tmp_path / "two")) == ROWS[1:]
    assert plain(read_rows([str(two), one])) == ROWS[::-1]
    assert plain(read_rows({"x": str(one), "y": {"path": two}})) == ROWS
    assert plain(read_rows({"path": [one, two]})) == ROWS
    assert plain(read_rows({"path": ROWS, "weight": 2.0})) == ROWS


def test_a_mapping_s_settings_are_of_its_own_source(tmp_path, jsonl):
    named = jsonl("named.jsonl", [{"frage": "q", "antwort": {"text": "p"}}])
    plain_path = jsonl("plain.jsonl")

    sources = {
        "named": {"path": named, "query": "frage", "pos": "antwort.text"},
        "plain": plain_path,
    }

    assert queries(sources) == ["q", *(row["query"] for row in ROWS)]


def test_columns_by_other_names(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("frage;gut;schlecht1;schlecht2\nq;p;n1;\nr;s;n2;n3\n")

    rows = list(read_rows(path, query="frage", pos="gut", neg=["schlecht1", "schlecht2"]))

    assert plain(rows) == [
        {"query": "q", "pos": ["p"], "neg": ["n1"]},
        {"query": "r", "pos": ["s"], "neg": ["n2", "n3"]},
    ]


def test_a_column_that_is_not_there_is_said(jsonl):
    with pytest.raises(DataError, match=re.escape("no column 'frage': its columns are query, pos")):
        list(read_rows(jsonl("a.jsonl"), query="frage"))


def test_files_of_other_splits_are_left_out(jsonl, tmp_path):
    jsonl("data/train.jsonl", ROWS[:1])
    jsonl("data/test.jsonl", ROWS[1:])

    assert plain(read_rows(tmp_path / "data")) == ROWS[:1]
    assert plain(read_rows(tmp_path / "data", split="test")) == ROWS[1:]


def test_a_corpus_beside_the_rows_and_one_in_memory(jsonl, tmp_path):
    rows = [{"query_id": "1", "query": "q", "positive_document_ids": ["d1"]}]
    rows[0]["query_text"] = rows[0].pop("query")
    rows[0]["negative_document_ids"] = []
    corpus = [{"docid": "d1", "text": "passage"}]
    jsonl("set/train.jsonl", rows)
    jsonl("set/corpus.jsonl", corpus)
    alone = jsonl("alone/train.jsonl", rows)

    for found in (
        read_rows(tmp_path / "set"),
        read_rows(alone, corpus=corpus),
        read_rows(alone, corpus=str(tmp_path / "set" / "corpus.jsonl")),
        read_rows({"path": alone, "corpus": {"path": tmp_path / "set" / "corpus.jsonl"}}),
    ):
        assert [row["pos"] for row in found] == [["passage"]]


def test_an_address(tmp_path):
    memory = fsspec.filesystem("memory")
    memory.pipe("/read_rows/train.jsonl", json.dumps(ROWS[0]).encode())

    assert plain(read_rows("memory://read_rows/train.jsonl", cache_dir=tmp_path)) == ROWS[:1]
    memory.rm("/read_rows", recursive=True)
    assert plain(read_rows("memory://read_rows/train.jsonl", cache_dir=tmp_path)) == ROWS[:1]


def test_a_parquet_file_under_another_name(tmp_path):
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "rows.jsonl.gz")

    assert plain(read_rows(tmp_path / "rows.jsonl.gz")) == ROWS


def test_the_report_says_what_was_found_and_left_out(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("query,pos\nq,p\nragged\nr,\n")
    reader = RowReader(path, on_bad_row="skip")

    assert [row["query"] for row in reader.rows()] == ["q"]
    [found] = reader.report
    assert found.files == [(str(path), "text of commas, a header, quoted")]
    assert found.n_rows == 1
    assert found.left_out["records that cannot be read"] == 1
    assert sum(found.left_out.values()) == 2
    assert str(found).startswith(f"{path}: text of commas, a header, quoted; 1 row of format")


@pytest.mark.parametrize(
    ("source", "settings", "message"),
    [
        (3, {}, "expected a path"),
        (None, {}, "nothing to read"),
        ([], {}, "an empty list"),
        ("", {}, "an empty path"),
        ({"path": None}, {}, "no path"),
        ({"path": "x", "formt": "dpr"}, {}, "unknown setting 'formt'.*did you mean 'format'"),
        ("x", {"formt": "dpr"}, "unknown setting 'formt'"),
        ("x", {"kind": "tain"}, "kind='tain'.*did you mean 'train'"),
        ("llm-embedder:x", {}, "data_root"),
        (ROWS, {"format": "tevatorn"}, "did you mean 'tevatron'"),
        (ROWS, {"on_bad_row": "ignore"}, "expected one of raise, skip"),
    ],
)
def test_a_setting_that_cannot_be_used(source, settings, message):
    with pytest.raises(ConfigError, match=message):
        list(read_rows(source, **settings))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("none.jsonl", "there is no such file"),
        ("*.none", "matches no file"),
        ("org/name", "hf://datasets/org/name"),
    ],
)
def test_a_path_at_which_nothing_is(path, message):
    with pytest.raises(DataError, match=re.escape(message)):
        list(read_rows(path))


def test_negatives_and_scores_of_other_files_are_joined_by_ids(jsonl, tmp_path):
    rows = [
        {"query_id": "1", "query": "q", "pos": ["a"], "neg": []},
        {"query_id": "2", "query": "r", "pos": ["b"], "neg": ["c"]},
    ]
    path = jsonl("train.jsonl", rows)
    corpus = [{"id": name, "text": name[1:]} for name in ("da", "db", "dc")]
    run = tmp_path / "mined.trec"
    run.write_text("1 Q0 dc 1 9.5 m\n1 Q0 da 2 9 m\n1 Q0 dx 3 8 m\n2 Q0 db 1 7 m\n")
    scores = [
        {"query_id": q, "doc_id": d, "score": s}
        for q, d, s in (("1", "da", 0.9), ("1", "dc", 0.25), ("2", "db", 0.5))
    ]
    reader = RowReader(path, corpus=corpus, negatives=run, scores=scores, task="mined")

    found = list(reader.rows())

    assert [(row["neg"], row["teacher_scores"], row["task"]) for row in found] == [
        (["c"], [0.9, 0.25], "mined"),
        (["c"], None, "mined"),
    ]
    left_out = next(entry.left_out for entry in reader.report if entry.n_rows == 2)
    assert left_out["mined negatives that the corpus does not have"] == 1
    assert left_out["rows of which not every candidate has a score"] == 1


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.zst", "parquet", "arrow"])
def test_a_file_whose_name_is_not_utf8_is_read(tmp_path, ending):
    table = pa.Table.from_pylist(ROWS)
    content = io.BytesIO()
    if ending == "parquet":
        pq.write_table(table, content)
    elif ending == "arrow":
        with pa.ipc.new_file(content, table.schema) as writer:
            writer.write_table(table)
    else:
        lines = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
        content.write(pa.compress(lines, "zstd", asbytes=True) if "zst" in ending else lines)
    path = os.fsencode(tmp_path) + b"/caf\xe9." + ending.encode()
    with open(path, "wb") as file:
        file.write(content.getvalue())

    assert plain(read_rows(os.fsdecode(path))) == ROWS
    assert len(read(Path(os.fsdecode(path)))) == len(ROWS)


def test_an_eval_row_has_its_task_and_instruction():
    row = {"query": "q", "query_id": 1, "relevant": {"d1": 1}}
    own = {"task": "tool", "instruction": "Find the tool: "}
    assert list(read_rows([row], kind="eval")) == [row]
    [found] = read_rows([{**row, **own}], kind="eval")
    assert found == {
        **row,
        "task": "tool",
        "instruction": {"query": own["instruction"], "key": None},
    }
    records = [{**row, "task": 3}]
    with pytest.raises(DataError, match="row 0: task: expected a string, found 3"):
        list(read_rows(records, kind="eval"))
