"""Two paths from raw rows to columns, record by record and many at once, with equal results."""

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llm_embedder_data.rows.columns.column import Column, renamed
from llm_embedder_data.rows.columns.conversion import columns_of
from llm_embedder_data.rows.columns.records import columns_of_records

WANTED = (
    Column("query", "string"),
    Column("title", "text"),
    Column("pos", "strings"),
    Column("teacher_scores", "numbers"),
    Column("pos_index", "integers"),
    Column("query_id", "id"),
    Column("instruction", "instruction"),
)
NAMES = [column.name for column in WANTED]

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70), st.floats(), st.sampled_from([2**53, 2**53 + 1, 0, -0.0, 1e300])
)
OTHER = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
SOUND = {
    "query": TEXTS,
    "title": TEXTS | st.integers(-5, 5) | st.floats(-5, 5),
    "pos": st.lists(TEXTS, max_size=3),
    "teacher_scores": st.lists(st.floats(-9, 9) | st.integers(-9, 9), max_size=3),
    "pos_index": st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3),
    "query_id": st.integers(-(2**63), 2**63 - 1) | TEXTS,
    "instruction": TEXTS
    | st.fixed_dictionaries(
        {}, optional={"query": st.none() | TEXTS, "key": st.none() | TEXTS, "other": TEXTS}
    ),
}
SOUND_RECORDS = st.fixed_dictionaries({}, optional={n: st.none() | s for n, s in SOUND.items()})
RECORDS = st.fixed_dictionaries(
    {}, optional={name: values | OTHER for name, values in SOUND.items()} | {"other": OTHER}
)


@st.composite
def lines(draw):
    """A record's line, sometimes with a byte changed, taken out, or written twice."""
    text = json.dumps(draw(SOUND_RECORDS | RECORDS), ensure_ascii=draw(st.booleans()))
    line = text.encode()
    place = draw(st.integers(0, len(line) - 1))
    change = draw(st.sampled_from(["none"] * 6 + ["take out", "twice", "another", "cut"]))
    if change == "take out":
        return line[:place] + line[place + 1 :]
    if change == "twice":
        return line + draw(st.sampled_from([b"", b" ", b","])) + line
    if change == "another":
        byte = draw(st.sampled_from(list(b'{}[]",:0-+.eNn\\\r\t\x00 \x80\xff')))
        return line[:place] + bytes([byte]) + line[place + 1 :]
    if change == "cut":
        return line[:place] + b"\n" + line[place:]
    return line


def rows_of(columns, faults):
    """Each row's values and whether it has a fault, as text: NaN is NaN."""
    rows = zip(*(columns[name].to_pylist() for name in columns), strict=True)
    values = [
        repr([None if fault else row, bool(fault)]) for row, fault in zip(rows, faults, strict=True)
    ]
    return [text.replace("-0.0", "0.0") for text in values]


def one_by_one(block):
    """What each line gives when it stands alone."""
    rows = []
    for line in block.split(b"\n"):
        if line.strip():
            rows += rows_of(*columns_of(memoryview(line + b"\n"), WANTED))
    return rows


@given(st.lists(lines(), min_size=1, max_size=4), st.sampled_from([b"\n", b"\r\n", b"\n\n"]))
@example([b'{"query": "a"}{"query": "b"}', b'{"query":', b'"c"}'], b"\n")
@example([b'{"query": "a", "other": Inf}', b"no JSON"], b"\n")
@example([b'{"query": "a", "query": "b"}', b'{"query": "c"}'], b"\n")
@example([b'{"other": ' + b"[" * 2000 + b"]" * 2000 + b"}", b"no JSON"], b"\n")
@example([b'{"teacher_scores": [9007199254740993]}', b"no JSON"], b"\n")
@example([b'{"query_id": 1}', b'{"query_id": "1"}'], b"\n")
@example([b'{"instruction": "a"}', b'{"instruction": {"query": "b", "key": null}}'], b"\n")
@example([b'{"instruction": {"key": "a"}}', b'{"instruction": "b"}', b'{"instruction": 1}'], b"\n")
@example([b'{"instruction": {"query": "a", "query": "b"}}', b"no JSON"], b"\n")
def test_a_line_is_read_alike_whatever_its_neighbours(written, end):
    block = end.join(written) + end

    assert rows_of(*columns_of(memoryview(block), WANTED)) == one_by_one(block)


@pytest.mark.parametrize("line", [b'{"query": "\xff"}', b'{"query": "q", "other": "\xff"}'])
def test_a_line_that_is_not_utf_8_is_a_fault(line):
    _, faults = columns_of(memoryview(b'{"query": "a"}\n' + line), WANTED)

    assert faults[0] is None
    assert "not JSON" in faults[1]


@given(st.lists(RECORDS, min_size=1, max_size=4))
def test_lines_are_read_as_their_records_are(records):
    block = "".join(json.dumps(record) + "\n" for record in records).encode()
    faults = [None] * len(records)

    columns = columns_of_records(
        [json.loads(json.dumps(record)) for record in records], WANTED, faults
    )

    assert rows_of(*columns_of(memoryview(block), WANTED)) == rows_of(columns, faults)
    assert {column.type for column in columns.values()} == {
        column.type for column in columns_of(memoryview(block), WANTED)[0].values()
    }


def test_valid_lines_are_read_in_bulk(monkeypatch):
    """Otherwise the tests above would compare the slow path with itself."""
    monkeypatch.delattr("llm_embedder_data.rows.columns.conversion.parsed_records")
    record = {"query": "q", "title": "t", "pos": ["p\n", "é"], "teacher_scores": [1, 0.5]}
    record |= {"pos_index": [3], "other": {"x": [None, True]}}
    record |= {"instruction": "ask "}
    for query_id in ({"query_id": 7}, {"query_id": "seven"}, {}):
        for end in ("\n", "\r\n"):
            block = end.join([json.dumps(record | query_id)] * 3).encode()

            columns, faults = columns_of(memoryview(block), WANTED)

            assert faults == [None] * 3
            assert columns["pos"].to_pylist() == [record["pos"]] * 3
            assert columns["teacher_scores"].to_pylist() == [[1.0, 0.5]] * 3
            assert columns["query_instruction"].to_pylist() == ["ask "] * 3
            assert columns["key_instruction"].to_pylist() == [None] * 3
            ids = [columns[f"query_id_{kind}"].to_pylist() for kind in ("int", "str")]
            assert query_id.get("query_id") in (ids[0][0], ids[1][0])
    assert columns["title"].to_pylist() == ["t"] * 3


TABLES = {
    "query": [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())],
    "title": [pa.string(), pa.int64()],
    "pos": [pa.list_(pa.string()), pa.large_list(pa.large_string())],
    "teacher_scores": [pa.list_(pa.float64()), pa.list_(pa.float32()), pa.list_(pa.int8())],
    "pos_index": [pa.list_(pa.int64()), pa.list_(pa.uint8()), pa.list_(pa.float64())],
    "query_id": [pa.int64(), pa.int16(), pa.string(), pa.float64()],
    "instruction": [
        pa.string(),
        pa.large_string(),
        pa.struct([("query", pa.string()), ("key", pa.string())]),
        pa.struct([("key", pa.large_string()), ("other", pa.float64())]),
        pa.struct([("query", pa.float64())]),
    ],
}
VALUES = {
    pa.string(): st.none() | TEXTS,
    pa.large_string(): st.none() | TEXTS,
    pa.dictionary(pa.int32(), pa.string()): st.none() | TEXTS,
    pa.float64(): st.none() | st.floats(-9, 9),
}


def values_of(type):
    if type in VALUES:
        return VALUES[type]
    if pa.types.is_struct(type):
        fields = {field.name: values_of(field.type) for field in type}
        return st.none() | st.fixed_dictionaries(fields)
    if pa.types.is_integer(type):
        return st.none() | st.integers(0, 100)
    inner = st.floats(-9, 9, width=32) if pa.types.is_floating(type.value_type) else None
    if inner is None:
        inner = values_of(type.value_type).filter(lambda value: value is not None)
    return st.none() | st.lists(inner, max_size=3)


@given(st.data())
def test_a_table_is_read_as_its_records_are(data):
    n_rows = data.draw(st.integers(1, 5))
    types = {name: data.draw(st.sampled_from(some)) for name, some in TABLES.items()}
    arrays = {
        name: pa.array(data.draw(st.lists(values_of(t), min_size=n_rows, max_size=n_rows)), t)
        for name, t in types.items()
        if data.draw(st.booleans())
    } | {"other": pa.nulls(n_rows)}
    first = data.draw(st.integers(0, n_rows - 1))
    table = pa.RecordBatch.from_pydict(arrays).slice(first)
    faults = [None] * len(table)

    columns = columns_of_records(table.to_pylist(), WANTED, faults)

    assert rows_of(*columns_of(table, WANTED)) == rows_of(columns, faults)


def test_flattened_lists_skip_the_values_hidden_under_nulls():
    lists = pa.ListArray.from_arrays([0, 2, 3, 5], ["a", "b", "hidden", "c", "d"])
    hiding = pa.ListArray.from_buffers(
        lists.type,
        3,
        [pa.py_buffer(np.array([0b101], np.uint8)), lists.buffers()[1]],
        children=[lists.values],
    )
    table = pa.RecordBatch.from_pydict({"pos": hiding})

    columns, _ = columns_of(table.slice(1), WANTED)

    assert columns["pos"].to_pylist() == [None, ["c", "d"]]
    assert columns["pos"].values.to_pylist() == ["c", "d"]


def test_a_renamed_column_is_read():
    wanted = renamed(WANTED[:1], {"query": "question", "unknown": "x"})

    for block in (memoryview(b'{"question": "q", "query": "no"}'), [{"question": "q", "query": 1}]):
        columns, faults = columns_of(block, wanted)

        assert (columns["query"].to_pylist(), faults) == (["q"], [None])


@pytest.mark.parametrize("value", [True, [1], 1.5, 2.0**53])
def test_an_id_is_an_integer_of_64_bits_or_a_string(value):
    _, [fault] = columns_of([{"query_id": value}], WANTED)

    assert fault == f"query_id={value!r} (an integer or a string is needed)"


def test_a_whole_float_is_an_integer_id_and_nan_is_none():
    columns, faults = columns_of([{"query_id": 7.0}, {"query_id": float("nan")}], WANTED)

    assert (columns["query_id_int"].to_pylist(), faults) == ([7, None], [None, None])
