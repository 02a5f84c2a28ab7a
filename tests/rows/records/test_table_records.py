"""Parquet and Arrow files as plain records, nested columns too."""

import datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.rows.records.raw_files import RawFile

NESTED = [
    {
        "query": "q1",
        "positive_passages": [{"docid": "1", "title": None, "text": "a"}, None],
        "ids": [2**64 - 1, 3],
        "scores": [0.5, None],
        "flag": True,
        "nothing": None,
    },
    {
        "query": None,
        "positive_passages": None,
        "ids": [],
        "scores": None,
        "flag": None,
        "nothing": None,
    },
    {
        "query": "é",
        "positive_passages": [],
        "ids": None,
        "scores": [1.0],
        "flag": False,
        "nothing": None,
    },
]
SCHEMA = pa.schema(
    {
        "query": pa.dictionary(pa.int32(), pa.string()),
        "positive_passages": pa.list_(
            pa.struct({"docid": pa.string(), "title": pa.string(), "text": pa.large_string()})
        ),
        "ids": pa.large_list(pa.uint64()),
        "scores": pa.list_(pa.float32()),
        "flag": pa.bool_(),
        "nothing": pa.null(),
    }
)


def write(path, table):
    if path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=2)
        return
    new = pa.ipc.new_stream if path.suffix == ".stream" else pa.ipc.new_file
    with pa.OSFile(str(path), "wb") as file, new(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)


@pytest.mark.parametrize("ending", [".parquet", ".arrow", ".stream"])
def test_nested_columns_are_plain_values(tmp_path, ending):
    path = tmp_path / f"rows{ending}"
    write(path, pa.Table.from_pylist(NESTED, SCHEMA))

    file = RawFile(str(path))

    assert [record.value for record in file] == NESTED
    assert [record.row for record in file] == [0, 1, 2]
    assert file.container == "table"


def test_values_of_other_types_are_python_s(tmp_path):
    path = tmp_path / "rows.parquet"
    table = pa.table(
        {
            "day": [datetime.date(2026, 11, 27)],
            "bytes": [b"text"],
            "image": [{"bytes": b"\xff\xd8", "path": None}],
            "fixed": pa.array([[1, 2]], pa.list_(pa.int8(), 2)),
            "map": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())),
        }
    )
    write(path, table)

    [record] = RawFile(str(path))

    assert record.value == {
        "day": datetime.date(2026, 11, 27),
        "bytes": "text",
        "image": {"bytes": b"\xff\xd8", "path": None},
        "fixed": [1, 2],
        "map": [("a", 1)],
    }


def test_a_value_that_python_lacks_is_an_error(tmp_path):
    path = tmp_path / "rows.parquet"
    write(path, pa.table({"day": pa.array([2**31 - 1], pa.date32())}))

    with pytest.raises(DataError, match="a value cannot be read"):
        list(RawFile(str(path)))


@pytest.mark.slow
def test_the_head_and_all_rows_of_a_long_table(tmp_path):
    path = tmp_path / "rows.parquet"
    write(path, pa.table({"n": range(20_000), "text": [f"text {n}" for n in range(20_000)]}))

    file = RawFile(str(path))

    assert len(file.head) == 50
    assert [record.value["n"] for record in file] == list(range(20_000))


def test_a_column_that_is_there_twice_is_refused(tmp_path):
    path = tmp_path / "rows.arrow"
    write(path, pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["x", "x"]))

    with pytest.raises(DataError, match="'x' appears 2 times"):
        list(RawFile(str(path)))


def test_invalid_utf8_is_an_error(tmp_path):
    path = tmp_path / "rows.arrow"
    bad = pa.array([b"\xff\xfe"]).view(pa.binary()).cast(pa.binary())
    array = pa.Array.from_buffers(pa.string(), 1, bad.buffers())
    write(path, pa.Table.from_arrays([array], names=["query"]))

    with pytest.raises(DataError, match="invalid"):
        list(RawFile(str(path)))
