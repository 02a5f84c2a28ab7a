"""Files of any format to canonical rows, cached by content."""

import bz2
import gzip
import itertools
import json
import multiprocessing
import os
import random
import re
import signal
import sys
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from example_counts import tried
from hypothesis import given
from hypothesis import strategies as st
from strategies import file_rows

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.rows.files.content_digest import content_digest
from llm_embedder_data.rows.files.first_records import field_names
from llm_embedder_data.rows.files.json_files import line_of_row
from llm_embedder_data.rows.schema.reading import read_file
from llm_embedder_data.rows.schema.train import TRAIN_ROWS, train_batch

ENDINGS = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".jsonl.bz2", ".json", ".parquet", ".arrow")


def lines_of(rows):
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode()


def write(path, rows):
    """Rows in the format that the path's ending says."""
    if path.name.endswith((".parquet", ".arrow")):
        columns = {
            name: [row.get(name) for row in rows] for name in {n: 0 for r in rows for n in r}
        }
        table = pa.table(columns)
        if path.suffix == ".parquet":
            pq.write_table(table, path)
        else:
            kind = pa.ipc.new_stream if len(rows) % 2 else pa.ipc.new_file
            with pa.OSFile(str(path), "wb") as file, kind(file, table.schema) as writer:
                writer.write_table(table)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows, indent=1))
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress(lines_of(rows)))
    elif path.suffix == ".bz2":
        path.write_bytes(bz2.compress(lines_of(rows)))
    elif path.suffix == ".zst":
        with pa.output_stream(str(path), compression="zstd") as file:
            file.write(lines_of(rows))
    else:
        path.write_bytes(lines_of(rows))
    return str(path)


def canonical(path, cache_dir, kind=TRAIN_ROWS):
    """The file's rows as they were read, in the words of the file."""
    rows = []
    for row in read_file(path, kind, cache_dir=cache_dir):
        n_pos = row["n_pos"]
        rows.append(
            {
                "query": row["query"],
                "query_id": row["query_id_str"]
                if row["query_id_int"] is None
                else row["query_id_int"],
                "pos": row["key"][:n_pos],
                "neg": row["key"][n_pos:],
                "teacher_scores": row["teacher_scores"],
                "fault": row["fault"],
            }
        )
    return rows


COUNT = itertools.count()


@pytest.mark.parametrize("ending", ENDINGS)
@tried(12)
@given(rows=file_rows())
def test_rows_are_read_as_they_were_written(tmp_path_factory, ending, rows):
    folder = tmp_path_factory.getbasetemp()
    path = write(folder / f"{next(COUNT)}{ending}", rows)

    found = canonical(path, folder / "cache")

    assert found == [{**row, "fault": None} for row in rows]


ODD_ROWS = [
    {"query": "a", "pos": ["p"], "neg": ["n"], "teacher_scores": [1, 0]},
    {"query": "b", "pos": ["p"], "neg": ["n"], "teacher_scores": [1.5, 0.25], "query_id": None},
    {"query": "c", "pos": ["p"], "neg": ["n", "m"], "teacher_scores": None, "extra": None},
    {"query": "d", "pos": ["p"], "neg": [], "extra": 7, "query_id": 3},
    {"query": "e", "pos": ["p"], "extra": "seven", "query_id": "x"},
    {"query": "f", "pos": ["p"], "neg": None, "extra": {"deep": [1, "two"]}},
    {"query": "g", "pos": ["p", "q"], "neg": ["n"], "extra": [2**70], "late": True},
]


@given(st.permutations(ODD_ROWS))
def test_the_type_of_a_column_does_not_depend_on_the_order_of_rows(tmp_path_factory, rows):
    folder = tmp_path_factory.getbasetemp()
    path = write(folder / f"{next(COUNT)}.jsonl", rows)

    found = {row["query"]: row for row in canonical(path, folder / "cache")}

    for row in rows:
        wanted = {"query_id": None, "teacher_scores": None} | {
            name: row[name] for name in row if name not in ("extra", "late")
        }
        assert found[row["query"]] == wanted | {"neg": row.get("neg") or [], "fault": None}


def test_rows_after_the_first_ten_megabytes_are_read_like_the_others(tmp_path):
    long = "x" * 1000
    rows = [{"query": f"{i}", "pos": [long], "neg": None, "extra": None} for i in range(11_000)]
    odd = {
        "query": "last",
        "pos": ["p"],
        "neg": ["n"],
        "teacher_scores": [0.5, 1],
        "extra": {"a": 1},
    }
    path = write(tmp_path / "a.jsonl", [*rows, odd])
    assert os.path.getsize(path) > 10 << 20

    found = read_file(path, TRAIN_ROWS, cache_dir=tmp_path)

    assert len(found) == 11_001
    assert found[10_999]["query"] == "10999"
    assert (found[11_000]["key"], found[11_000]["teacher_scores"]) == (["p", "n"], [0.5, 1.0])


def test_columns_that_are_not_used_may_hold_anything(tmp_path):
    table = pa.table(
        {
            "query": ["q"],
            "pos": [["p"]],
            "neg": [["n"]],
            "when": pa.array([2**60], pa.timestamp("ms")),  # a year that no Python datetime has
            "blob": [b"\xff"],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")

    [row] = canonical(str(tmp_path / "a.parquet"), tmp_path)

    assert (row["query"], row["fault"]) == ("q", None)


def test_a_table_without_any_known_column_has_faulty_rows_not_zero_rows(tmp_path):
    pq.write_table(pa.table({"other": [1, 2]}), tmp_path / "a.parquet")

    found = read_file(str(tmp_path / "a.parquet"), TRAIN_ROWS, cache_dir=tmp_path)

    assert found["fault"] == ["no query (a row needs a query)"] * 2


def test_large_strings_and_dictionaries_are_strings(tmp_path):
    table = pa.table(
        {
            "query": pa.array(["q"], pa.large_string()).dictionary_encode(),
            "pos": pa.array([["p"]], pa.large_list(pa.large_string())),
            "neg": [["n"]],
            "teacher_scores": pa.array([[1, 0]], pa.list_(pa.float32())),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")

    [row] = canonical(str(tmp_path / "a.parquet"), tmp_path)

    assert row["pos"] + row["neg"] == ["p", "n"]
    assert (row["teacher_scores"], row["fault"]) == ([1.0, 0.0], None)


def test_renamed_fields_are_read(tmp_path):
    rows = [{"question": "q", "query": "no", "positives": ["p"], "neg": ["n"]}]
    renames = (("pos", "positives"), ("query", "question"))
    kind = replace(TRAIN_ROWS, fields=renames)

    for ending in (".jsonl", ".parquet"):
        [row] = canonical(write(tmp_path / f"a{ending}", rows), tmp_path, kind)
        assert (row["query"], row["pos"], row["neg"]) == ("q", ["p"], ["n"])


def test_blank_lines_and_byte_order_marks_are_not_rows(tmp_path):
    path = tmp_path / "a.jsonl"
    row = b'{"query": "q", "pos": ["p"]}'
    path.write_bytes(b"\xef\xbb\xbf" + row + b"\r\n\n  \n" + row)

    found = read_file(str(path), TRAIN_ROWS, cache_dir=tmp_path)

    assert found["fault"] == [None, None]
    assert [line_of_row(str(path), row) for row in (0, 1, 2)] == [1, 4, None]


def test_lines_are_counted_in_lines_only(tmp_path):
    path = write(tmp_path / "a.json", [{"query": "q", "pos": ["p"]}])

    assert line_of_row(path, 0) is None
    assert field_names(path) == ["query", "pos"]


# -- the cache -------------------------------------------------------------------------------------

ROW = {"query": "q", "pos": ["p"], "neg": ["n"]}
OPENED = []
sys.addaudithook(lambda event, args: OPENED.append(str(args[0])) if event == "open" else None)


def test_an_unchanged_file_is_not_read_again(tmp_path):
    path = write(tmp_path / "a.jsonl", [ROW])
    first = read_file(path, TRAIN_ROWS, cache_dir=tmp_path / "cache")
    [cached] = (tmp_path / "cache").glob("*.arrow")
    written = cached.stat()
    OPENED.clear()

    again = read_file(path, TRAIN_ROWS, cache_dir=tmp_path / "cache")

    assert again[:] == first[:]
    assert path not in OPENED
    assert cached.stat() == written


def test_an_edit_is_detected_even_with_an_old_modification_time(tmp_path):
    path = write(tmp_path / "a.jsonl", [ROW])
    before = os.stat(path)
    assert canonical(path, tmp_path)[0]["query"] == "q"

    while os.stat(path).st_ctime_ns == before.st_ctime_ns:  # the clock of a file system has steps
        write(tmp_path / "a.jsonl", [{**ROW, "query": "Q"}])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert os.stat(path).st_mtime_ns == before.st_mtime_ns
    assert os.stat(path).st_size == before.st_size
    assert canonical(path, tmp_path)[0]["query"] == "Q"


def test_files_with_equal_content_share_a_cache(tmp_path):
    for name in ("a.jsonl", "b.jsonl"):
        read_file(write(tmp_path / name, [ROW]), TRAIN_ROWS, cache_dir=tmp_path / "cache")

    assert len(list((tmp_path / "cache").glob("*.arrow"))) == 1
    digests = {
        content_digest(str(tmp_path / n), tmp_path / "cache") for n in ("a.jsonl", "b.jsonl")
    }
    assert len(digests) == 1


def test_other_reading_settings_use_another_cache(tmp_path):
    path = write(tmp_path / "a.jsonl", [{**ROW, "question": "other"}])
    renamed = replace(TRAIN_ROWS, fields=(("query", "question"),))

    assert canonical(path, tmp_path)[0]["query"] == "q"
    assert canonical(path, tmp_path, renamed)[0]["query"] == "other"


def test_a_write_that_fails_leaves_nothing(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b"[]")

    with pytest.raises(DataError, match="the file holds no row"):
        read_file(str(path), TRAIN_ROWS, cache_dir=tmp_path / "cache")

    assert {file.suffix for file in (tmp_path / "cache").iterdir()} == {".digest"}


def read_in_a_process(path, cache_dir, build=train_batch, barrier=None):
    if barrier is not None:
        barrier.wait()
    read_file(path, replace(TRAIN_ROWS, build=build), cache_dir=cache_dir)


def killed_while_building(records, faults):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_write_that_is_killed_leaves_nothing_that_is_read(tmp_path):
    path = write(tmp_path / "a.jsonl", [ROW])
    process = multiprocessing.get_context("fork").Process(
        target=read_in_a_process, args=(path, tmp_path / "cache", killed_while_building)
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL

    assert not list((tmp_path / "cache").glob("*.arrow"))
    assert canonical(path, tmp_path / "cache")[0]["query"] == "q"


def test_processes_that_prepare_one_file_at_once_do_not_disturb_each_other(tmp_path):
    path = write(tmp_path / "a.jsonl", [{**ROW, "query": str(i)} for i in range(3000)])
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(2)
    processes = [
        context.Process(
            target=read_in_a_process,
            args=(path, tmp_path / "cache", train_batch, barrier),
        )
        for _ in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()

    assert [process.exitcode for process in processes] == [0, 0]
    assert len(canonical(path, tmp_path / "cache")) == 3000
    assert sorted(file.suffix for file in (tmp_path / "cache").iterdir()) == [".arrow", ".digest"]


def test_a_cache_that_cannot_be_written_is_an_error_that_says_where(tmp_path):
    path = write(tmp_path / "a.jsonl", [ROW])
    (tmp_path / "file").touch()

    with pytest.raises(
        DataError, match=r"the cache cannot be written: .*give another data\.cache_dir"
    ):
        read_file(path, TRAIN_ROWS, cache_dir=tmp_path / "file" / "cache")


# -- files that cannot be read ---------------------------------------------------------------------

GOOD = lines_of([{"query": str(random.Random(i).random()), "pos": ["p"]} for i in range(3000)])


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.jsonl", b"", "the file holds no row (fill it, or leave it out)"),
        ("a.jsonl", b"\n \n", "the file holds no row"),
        ("a.json", b"[]", "the file holds no row"),
        ("a.json", b'[{"query": "q"}', "cannot be read as json: "),
        ("a.jsonl.gz", gzip.compress(GOOD, mtime=0)[:-2000], "cannot be read as json: "),
        ("a.jsonl.bz2", bz2.compress(GOOD)[:-2000], "cannot be read as json: "),
        ("a.jsonl.zst", b"no zstandard", "cannot be read as json: "),
        ("a.parquet", GOOD, "cannot be read as parquet: "),
        ("a.arrow", GOOD, "cannot be read as arrow: "),
        ("a.arrow", b"", "cannot be read as arrow: "),
        ("a.tsv", GOOD, "the ending '.tsv' is not one of .jsonl"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_error_that_names_it(tmp_path, name, content, sentence):
    path = tmp_path / name
    path.write_bytes(content)

    with pytest.raises(DataError, match=re.escape(f"{path}: {sentence}")) as raised:
        read_file(str(path), TRAIN_ROWS, cache_dir=tmp_path / "cache")

    assert str(raised.value).count(str(path)) == 1
    assert raised.value.path == str(path)
    assert not list((tmp_path / "cache").glob("*.arrow")) + list(tmp_path.glob("cache/*.part"))


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"gone\.jsonl: there is no such file \(correct the path"):
        read_file(str(tmp_path / "gone.jsonl"), TRAIN_ROWS, cache_dir=tmp_path)
