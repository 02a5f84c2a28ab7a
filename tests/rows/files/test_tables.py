"""Arrow and Parquet files of unknown origin: rows, or one error that names file and column."""

import itertools
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from example_counts import tried
from hypothesis import given
from hypothesis import strategies as st

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.rows.files import table_readers, tables
from llm_embedder_data.rows.files.first_records import field_names
from llm_embedder_data.rows.files.table_process import row_sizes, table_program
from llm_embedder_data.rows.files.table_process.checked_slices import checked_slices
from llm_embedder_data.rows.files.table_process.table_messages import Unreadable
from llm_embedder_data.rows.schema.reading import read_file
from llm_embedder_data.rows.schema.train import TRAIN_ROWS

CONTAINERS = ("file", "stream", "parquet")
COUNT = itertools.count()


def write(folder, table, container, **options):
    """A table as a file of its own."""
    if container == "parquet":
        path = folder / f"{next(COUNT)}.parquet"
        pq.write_table(table, path, **options)
        return path
    path = folder / f"{next(COUNT)}.arrow"
    new = pa.ipc.new_file if container == "file" else pa.ipc.new_stream
    with pa.OSFile(str(path), "wb") as file, new(file, table.schema) as writer:
        writer.write_table(table, **options)
    return path


def sound(**columns):
    """A table of training rows, some of its columns replaced."""
    return pa.table(
        {"query": ["a", "b"], "pos": [["p"], ["q"]], "neg": [["n"], ["m", "o"]]} | columns
    )


def read(path, folder):
    return read_file(str(path), TRAIN_ROWS, cache_dir=folder / "cache")


def from_offsets(content, offsets):
    buffers = [None, pa.py_buffer(np.array(offsets, np.int32)), pa.py_buffer(content)]
    return pa.Array.from_buffers(pa.string(), len(offsets) - 1, buffers)


UNUSABLE = {
    "latin-1": ("query", from_offsets(b"caf\xe9b", [0, 4, 5])),
    "latin-1 in lists": (
        "neg",
        pa.ListArray.from_arrays([0, 1, 2], from_offsets(b"caf\xe9b", [0, 4, 5])),
    ),
    "time zone": ("query", pa.array([1, 2], pa.timestamp("us", "Nowhere/Atlantis"))),
    "year": ("query", pa.array([2**60, 1], pa.timestamp("ms"))),
    "binary": ("query", pa.array([b"a", b"b"])),
    "fixed binary": ("query", pa.array([b"a", b"b"], pa.binary(1))),
    "decimal": ("query", pa.array([1, 2], pa.decimal128(5))),
    "boolean": ("query", pa.array([True, None])),
    "number": ("query", pa.array([1, 2])),
    "list for a string": ("query", pa.array([["a"], ["b"]])),
    "string for a list": ("neg", pa.array(["n", "m"])),
    "list of lists": ("neg", pa.array([[["n"]], [["m"]]])),
    "list of structs": ("neg", pa.array([[{"text": "n"}], [{"text": "m"}]])),
    "map": ("neg", pa.array([[("a", 1)], [("b", 2)]], pa.map_(pa.string(), pa.int64()))),
    "dictionary of numbers": ("query", pa.array([1, 2]).dictionary_encode()),
    "scores of text": ("teacher_scores", pa.array([["1", "2"], ["1", "2", "3"]])),
    "bool id": ("query_id", pa.array([True, False])),
}
ARROW_ONLY = {
    "dictionary indices": (
        "query",
        pa.DictionaryArray.from_arrays(pa.array([0, 9]), pa.array(["x"]), safe=False),
    ),
    "union": ("query", pa.UnionArray.from_sparse(pa.array([0, 0], pa.int8()), [pa.array([1, 2])])),
    "run ends": ("query", pa.RunEndEncodedArray.from_arrays([1, 2], ["a", "b"])),
    "list view": ("neg", pa.array([["n"], ["m"]], pa.list_view(pa.string()))),
    "uuid": ("query", pa.array([b"a" * 16, b"b" * 16], pa.uuid())),
}
CASES = [
    pytest.param(container, column, array, id=f"{name}, {container}")
    for container in CONTAINERS
    for name, (column, array) in (
        UNUSABLE if container == "parquet" else UNUSABLE | ARROW_ONLY
    ).items()
]


@pytest.mark.parametrize(("container", "column", "array"), CASES)
def test_a_column_that_cannot_be_used_is_one_error_with_file_and_column(
    tmp_path, container, column, array
):
    path = write(tmp_path, sound(**{column: array}), container)

    with pytest.raises(DataError, match=re.escape(f"{path}: the column '{column}' ")) as raised:
        read(path, tmp_path)

    assert raised.value.path == str(path)
    assert str(raised.value).isprintable()


@pytest.mark.parametrize(("container", "column", "array"), CASES)
def test_a_column_that_is_not_used_may_hold_anything(tmp_path, container, column, array):
    path = write(tmp_path, sound(other=array), container)

    assert read(path, tmp_path)["fault"] == [None, None]


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_column_of_nulls_counts_as_missing(tmp_path, container):
    nothing = {"task": pa.nulls(2, pa.timestamp("s")), "query_id": pa.nulls(2, pa.float64())}
    path = write(tmp_path, sound(**nothing), container)

    found = read(path, tmp_path)

    assert found["fault"] == found["task"] == found["query_id_int"] == [None, None]


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_repeated_column_is_an_error_if_it_is_used(tmp_path, container):
    arrays = [pa.array(["a"]), pa.array(["b"]), pa.array([["p"]]), pa.array([["n"]])]
    twice = pa.Table.from_arrays(arrays, names=["query", "query", "pos", "neg"])
    unused = pa.Table.from_arrays([arrays[0], *arrays], names=["x", "query", "x", "pos", "neg"])

    with pytest.raises(DataError, match="the column 'query' appears 2 times"):
        read(write(tmp_path, twice, container), tmp_path)
    assert read(write(tmp_path, unused, container), tmp_path)["query"] == ["a"]


def test_strings_and_lists_of_any_layout_are_read(tmp_path):
    null = pa.DictionaryArray.from_arrays(pa.array([1, None, 2]), pa.array([None, "x", "y"]))
    layouts = {
        "query": pa.array(["a", "b", "a text of more than twelve bytes"], pa.string_view()),
        "task": null,
        "pos": pa.array([["p"], ["q"], ["r"]], pa.list_(pa.large_string(), 1)),
        "neg": pa.ListArray.from_arrays(
            [0, 1, 1, 3], pa.array(["n", "m", "n"]).dictionary_encode()
        ),
        "teacher_scores": pa.array([[1, 2], [3], None], pa.large_list(pa.float16())),
    }
    for container in ("file", "stream"):
        found = read(write(tmp_path, pa.table(layouts), container), tmp_path)

        assert found["fault"] == [None, None, None]
        assert found["query"] == ["a", "b", "a text of more than twelve bytes"]
        assert found["task"] == ["x", None, "y"]
        assert found["key"] == [["p", "n"], ["q"], ["r", "m", "n"]]
        assert found["teacher_scores"] == [[1, 2], [3], None]


@given(st.data())
def test_slices_hold_every_row_once_whatever_the_layout(tmp_path_factory, data):
    n_rows = data.draw(st.integers(1, 9))
    texts = st.lists(st.none() | st.text("aé", max_size=30), min_size=n_rows, max_size=n_rows)
    lists = st.lists(
        st.none() | st.lists(st.none() | st.text("aé", max_size=9), max_size=4),
        min_size=n_rows,
        max_size=n_rows,
    )
    kinds = {"text": ["string"], "list": ["strings"]}
    text_type = data.draw(
        st.sampled_from(
            [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary("int8", pa.string())]
        )
    )
    inner = text_type if text_type in (pa.string(), pa.large_string()) else pa.string()
    of = data.draw(st.sampled_from([pa.list_, pa.large_list]))
    table = pa.table(
        {
            "text": pa.array(data.draw(texts), text_type),
            "list": pa.array(data.draw(lists), of(inner)),
        }
    )
    path = write(tmp_path_factory.getbasetemp(), table, "stream")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_sizes, "SLICE_BYTES", data.draw(st.integers(1, 200)))
        patch.setattr(row_sizes, "SLICE_ROWS", data.draw(st.integers(1, 4)))
        patch.setattr(row_sizes, "_WINDOW_ROWS", data.draw(st.integers(1, 9)))
        slices = list(checked_slices(str(path), "arrow", kinds))

    assert [row for part in slices for row in part.to_pylist()] == table.to_pylist()
    assert {part.schema.field("text").type for part in slices} <= {pa.string(), pa.null()}
    path.unlink()


def test_slices_are_cut_by_bytes(tmp_path):
    texts = ["x" * 3_000_000] * 6
    for container in CONTAINERS:
        path = write(tmp_path, pa.table({"text": texts}), container)

        sizes = [part.nbytes for part in tables.table_slices(str(path), format_of(path), TEXT)]

        assert len(sizes) == 6
        assert max(sizes) < row_sizes.SLICE_BYTES


TEXT = {"text": ["text"]}


def format_of(path):
    return path.suffix[1:]


def test_a_row_beyond_the_offsets_is_one_error(tmp_path, monkeypatch):
    path = write(tmp_path, pa.table({"text": ["a", "b" * 1000, "c"]}), "file")
    monkeypatch.setattr(row_sizes, "_LARGEST_ROW", 500)

    with pytest.raises(Unreadable, match=r"row 1 takes 1,\d+ bytes \(a row may take"):
        list(checked_slices(str(path), "arrow", TEXT))


# -- damage ----------------------------------------------------------------------------------------


def test_truncated_or_trailing_data_never_loses_a_row_silently(tmp_path):
    path = write(tmp_path, sound(), "stream", max_chunksize=1)
    content = path.read_bytes()

    for damaged, sentence in (
        (content[:-8], "the mark that ends a stream is missing"),
        (content + content, f"{len(content)} bytes follow the end of the stream"),
        (content[:-100], "cannot be read as arrow"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=sentence):
            read(path, tmp_path)


def test_a_row_count_without_data_is_refused(tmp_path):
    table = pa.table({"query": pa.nulls(3_000_000)})
    path = write(tmp_path, table, "file")

    with pytest.raises(DataError, match="it claims more than 1,000,000 rows"):
        read(path, tmp_path)


# What reads tables, but for a file that does something to the process.
FAILING_PROGRAM = """
import os

from llm_embedder_data.rows.files.table_process import table_program


def checked_slices(*_):
    {does}


table_program.checked_slices = checked_slices
table_program.CPU_SECONDS = 1
table_program.main()
"""


@pytest.mark.parametrize(
    ("does", "sentence"),
    [
        ("os.kill(os.getpid(), 11)", "pyarrow crashed with SIGSEGV"),
        ("while True: pass", "pyarrow took more than 1 s for a part of it"),
    ],
)
def test_a_file_that_kills_or_blocks_its_reader_is_one_error(tmp_path, monkeypatch, does, sentence):
    program = tmp_path / "program.py"
    program.write_text(FAILING_PROGRAM.format(does=does))
    monkeypatch.setattr(table_program, "__file__", str(program))
    monkeypatch.setattr(table_readers, "CPU_SECONDS", 1)
    table_readers.end_idle_readers()
    path = write(tmp_path, sound(), "file")

    with pytest.raises(DataError, match=sentence):
        read(path, tmp_path)

    monkeypatch.undo()
    assert read(path, tmp_path)["query"] == ["a", "b"]


def test_the_process_finds_the_package_where_this_process_found_it(tmp_path, monkeypatch, caplog):
    table_readers.end_idle_readers()
    start = subprocess.Popen
    # With -S, Python does not look for an editable installation.
    monkeypatch.setattr(
        subprocess, "Popen", lambda args, **of: start([args[0], "-S", *args[1:]], **of)
    )
    elsewhere = [path for path in sys.path if not Path(path, "llm_embedder_data").is_dir()]
    monkeypatch.setattr(sys, "path", elsewhere)
    monkeypatch.setattr(table_readers, "_has_warned", False)

    assert read(write(tmp_path, sound(), "file"), tmp_path)["query"] == ["a", "b"]

    assert not caplog.messages
    table_readers.end_idle_readers()


def test_files_are_read_even_if_no_process_can_be_started(tmp_path, monkeypatch, caplog):
    table_readers.end_idle_readers()
    monkeypatch.setattr("sys.executable", str(tmp_path / "no python"))
    monkeypatch.setattr(table_readers, "_has_warned", False)
    path, twice = write(tmp_path, sound(), "file"), write(tmp_path, sound(query=[1, 2]), "parquet")

    assert read(path, tmp_path)["query"] == ["a", "b"]
    assert field_names(str(path)) == ["query", "pos", "neg"]
    with pytest.raises(DataError, match="the column 'query' is of type int64"):
        read(twice, tmp_path)

    assert len(caplog.records) == 1
    assert "Cannot start a process to read Arrow and Parquet files" in caplog.text


def test_a_reader_process_serves_many_files_and_exits_when_idle(tmp_path, monkeypatch):
    monkeypatch.setattr(table_readers, "_IDLE_SECONDS", 0.1)
    started = []
    first = table_readers.TableReader.__init__
    monkeypatch.setattr(
        table_readers.TableReader, "__init__", lambda self: (started.append(self), first(self))[1]
    )
    table_readers.end_idle_readers()

    for i in range(3):
        read(write(tmp_path, sound(query=[str(i), "x"]), "parquet"), tmp_path)
    assert len(started) == 1
    table_readers._timer.join(30)
    assert started[0]._process.returncode is not None
    assert len(read(write(tmp_path, sound(), "parquet"), tmp_path)) == 2


def mutate(content, changes):
    out = bytearray(content)
    for at, byte in changes:
        out[int(at * (len(out) - 1))] = byte
    return bytes(out)


@tried(60)
@given(
    st.sampled_from(CONTAINERS),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=9),
)
def test_a_damaged_file_gives_rows_or_one_error(tmp_path_factory, container, changes):
    folder = tmp_path_factory.getbasetemp()
    path = write(folder, sound(task=pa.array(["qa", "qa"]).dictionary_encode()), container)
    path.write_bytes(mutate(path.read_bytes(), changes))

    sentence, n_rows = None, 2
    try:
        n_rows = len(read(path, folder)[:]["query"])
    except DataError as error:
        sentence = str(error)
    path.unlink()

    assert n_rows == 2
    assert sentence is None or (sentence.count(str(path)) == 1 and sentence.isprintable())
