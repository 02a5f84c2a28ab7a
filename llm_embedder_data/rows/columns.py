"""What a file gives, as Arrow columns whose types depend on the columns alone, never on the rows.

There are two ways to them. One goes record by record, in Python, and can say of each value what is
wrong with it. The other has Arrow's own parser take many lines at once, in a third of the time and
beside other threads; it takes only lines about which nothing needs to be said, and gives for them
what the first way would.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.json
from numpy.typing import NDArray

Record = Mapping[str, Any] | None  # None stands for a line that could not be parsed
Faults = list[str | None]  # a row: None, or what is wrong with it
Block: TypeAlias = memoryview | list[Any] | Any  # rows of a file: lines, records, a RecordBatch

# By name. A column of ids has two arrays, ``<name>_int`` and ``<name>_str``: a row has one of the
# two, or neither.
Columns = dict[str, pa.Array]

_TEXT = pa.string()
STRINGS = pa.list_(_TEXT)
FLOATS = pa.list_(pa.float64())
INTS = pa.list_(pa.int64())

Kind = Literal["string", "text", "strings", "numbers", "integers", "id"]

_TYPES: dict[Kind, pa.DataType] = {
    "string": _TEXT,
    "text": _TEXT,
    "strings": STRINGS,
    "numbers": FLOATS,
    "integers": INTS,
}
_NEEDED: dict[Kind, str] = {
    "string": "a string",
    "text": "a string",
    "strings": "a list of strings",
    "numbers": "a list of numbers",
    "integers": "a list of integers",
    "id": "an integer or a string",
}

# From here on not every integer is a float64.
_EXACT = 2.0**53


@dataclass(frozen=True, slots=True)
class Column:
    """What one field of a record may hold; null and missing are one, and always allowed here.

    Attributes:
        name: that the rest of the package knows it by.
        kind: of its values; ``text`` is a string or a number, which becomes its decimal text; an
            ``id`` is an integer of 64 bits or a string.
        called: what it is called in the file, where that is another name.
    """

    name: str
    kind: Kind
    called: str | None = None

    @property
    def field(self) -> str:
        """What it is called in the file."""
        return self.called or self.name


def renamed(columns: Sequence[Column], fields: Mapping[str, str]) -> tuple[Column, ...]:
    """The columns as they are called in a file that calls some of them otherwise."""
    return tuple(replace(column, called=fields.get(column.name)) for column in columns)


def kinds_of(columns: Sequence[Column]) -> dict[str, list[str]]:
    """What each field of a file has to hold."""
    kinds: dict[str, list[str]] = {}
    for column in columns:
        kinds.setdefault(column.field, []).append(column.kind)
    return kinds


def columns_of(block: Block, wanted: Sequence[Column]) -> tuple[Columns, Faults]:
    """The wanted columns of some rows, and what is wrong with each row.

    A value of another type than its column's is a fault, and reads null. No other column of the
    file is looked at.
    """
    if isinstance(block, list):
        columns = None
    else:
        of = _of_lines if isinstance(block, memoryview) else _of_table
        columns = of(block, wanted)
    if columns is not None:
        return columns, [None] * len(next(iter(columns.values())))
    records, faults = _records(block, wanted)
    return columns_of_records(records, wanted, faults), faults


def columns_of_records(
    records: Sequence[Record], wanted: Sequence[Column], faults: Faults
) -> Columns:
    """The wanted columns of records; what is wrong is put down in ``faults``, one a record."""
    columns: Columns = {}
    for column in wanted:
        values = [None if record is None else record.get(column.field) for record in records]
        if column.kind == "id":
            columns |= _ids(values, column, faults)
            continue
        if column.kind == "text":
            values = [str(value) if type(value) in (int, float) else value for value in values]
        columns[column.name] = _array(values, column, faults)
    return columns


def first_record(block: Block) -> Mapping[str, Any]:
    """The first of some rows."""
    records, _ = _records(block, ())
    return next(iter(records), None) or {}


def shown(value: Any) -> str:
    """A value in a sentence."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


# -- record by record ------------------------------------------------------------------------------


def _records(block: Block, wanted: Sequence[Column]) -> tuple[list[Record], Faults]:
    if isinstance(block, memoryview):
        return _records_of_lines(block, wanted)
    if isinstance(block, pa.RecordBatch):
        names = [one.field for one in wanted if one.field in block.schema.names]
        values = [block.column(name).to_pylist() for name in names]
        rows = zip(*values, strict=True) if names else [()] * len(block)
        block = [dict(zip(names, row, strict=True)) for row in rows]
    faults = [None if isinstance(record, dict) else _no_object(record) for record in block]
    return [record if isinstance(record, dict) else None for record in block], faults


def _records_of_lines(lines: memoryview, wanted: Sequence[Column]) -> tuple[list[Record], Faults]:
    records: list[Record] = []
    faults: Faults = []
    for line in bytes(lines).split(b"\n"):
        if not line or line.isspace():
            continue
        try:
            record, fault = orjson.loads(line), None
        except orjson.JSONDecodeError as error:
            record, fault = _lenient(line, wanted, error)
        if fault is None and type(record) is not dict:
            record, fault = None, _no_object(record)
        records.append(record)
        faults.append(fault)
    return records, faults


def _lenient(
    line: bytes, wanted: Sequence[Column], error: orjson.JSONDecodeError
) -> tuple[Any, str | None]:
    """What is no JSON, but is read all the same.

    NaN and Infinity, which Python writes, reach the rule that names them. What Arrow's parser takes
    among other lines, it takes here too: a row is not to depend on its neighbours.
    """
    try:
        return json.loads(line), None
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        columns = _of_lines(memoryview(line.strip()), wanted) if wanted else None
        if columns is None:
            return None, f"not JSON: {error} (a row is one {{...}} a line; mend it, or take it out)"
        values = {name: array[0].as_py() for name, array in columns.items()}
        ids = [column for column in wanted if column.kind == "id"]
        for column in ids:
            own = values[f"{column.name}_int"]
            values[column.name] = values[f"{column.name}_str"] if own is None else own
        return {column.field: values[column.name] for column in wanted}, None


def _no_object(record: Any) -> str:
    return f"{repr(record)[:60]} is no JSON object (a row is {{...}})"


def _array(values: list[Any], column: Column, faults: Faults) -> pa.Array:
    array = _converted(values, column.kind)
    if array is not None:
        return array
    for row, value in enumerate(values):
        if _converted([value], column.kind) is None:
            sentence = f"{column.name}={shown(value)} ({_NEEDED[column.kind]} is needed)"
            faults[row] = faults[row] or sentence
            values[row] = None
    return pa.array(values, _TYPES[column.kind])


def _converted(values: list[Any], kind: Kind) -> pa.Array | None:
    # pa.array would take the string "abc" for the list ["a", "b", "c"], and 1.5 for the integer 1.
    python = str if kind in ("string", "text") else list
    if not set(map(type, values)) <= {python, type(None)}:
        return None
    if kind == "integers" and not {type(one) for row in values for one in row or ()} <= {int}:
        return None
    try:
        return pa.array(values, _TYPES[kind])
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError):
        return None


def _ids(values: list[Any], column: Column, faults: Faults) -> Columns:
    ints: list[int | None] = []
    strings: list[str | None] = []
    for row, value in enumerate(values):
        is_int = type(value) is int and -(2**63) <= value < 2**63
        if value is not None and not is_int and not isinstance(value, str):
            sentence = f"{column.name}={shown(value)} ({_NEEDED['id']} is needed)"
            faults[row] = faults[row] or sentence
        ints.append(value if is_int else None)
        strings.append(value if isinstance(value, str) else None)
    return {
        f"{column.name}_int": pa.array(ints, pa.int64()),
        f"{column.name}_str": _array(strings, Column(column.name, "string"), faults),
    }


# -- many at once ----------------------------------------------------------------------------------


def _type_of_ids(first: memoryview, column: Column) -> pa.DataType:
    """That of the first record: in most files all are of one type."""
    try:
        is_text = isinstance(orjson.loads(first).get(column.field), str)
    except orjson.JSONDecodeError:
        return pa.int64()
    return _TEXT if is_text else pa.int64()


def _of_lines(lines: memoryview, wanted: Sequence[Column]) -> Columns | None:
    """The columns of lines that are one sound record each; None where a line may not be."""
    ends = _ends_of_records(lines)
    if ends is None:
        return None
    types: dict[str, pa.DataType] = {}
    for column in wanted:
        own = _TYPES.get(column.kind) or _type_of_ids(lines[: ends[0]], column)
        if types.setdefault(column.field, own) != own:
            return None
    try:
        table = pyarrow.json.read_json(
            pa.BufferReader(lines),
            pyarrow.json.ReadOptions(use_threads=False, block_size=len(lines)),
            pyarrow.json.ParseOptions(
                explicit_schema=pa.schema(list(types.items())), unexpected_field_behavior="ignore"
            ),
        )
    except pa.ArrowException:
        return None
    if len(table) != len(ends):
        return None
    return _named({name: table.column(name) for name in types}, wanted, len(ends))


def _ends_of_records(lines: memoryview) -> NDArray[np.int64] | None:
    """``[n]``, behind the last byte of each record, where each is a line; None where they are not.

    Arrow's parser takes records end to end, wherever lines end. Where every line begins with ``{``
    and ends in ``}``, no record goes over the end of a line; so if there are as many records as
    lines, each line is one.
    """
    content = np.frombuffer(lines, np.uint8)
    ends = np.flatnonzero(content == ord("\n"))
    if content[-1] != ord("\n"):
        ends = np.append(ends, len(content))
    starts = np.append(0, ends[:-1] + 1)
    ends = np.where(content[ends - 1] == ord("\r"), ends - 1, ends)
    sound = (content[starts] == ord("{")).all() and (content[ends - 1] == ord("}")).all()
    return ends if sound and _is_utf8(lines) else None


def _is_utf8(content: memoryview) -> bool:
    """Arrow's parser does not ask, and no column may show it."""
    bounds = pa.py_buffer(np.array([0, len(content)], np.int64))
    text = pa.LargeStringArray.from_buffers(1, bounds, pa.py_buffer(content))
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _of_table(table: pa.RecordBatch, wanted: Sequence[Column]) -> Columns | None:
    """The columns of a table whose types say that its values are sound; None where they may not."""
    fields: dict[str, pa.Array] = {}
    every_row = pa.array(np.arange(len(table)))
    for column in wanted:
        if column.field not in table.schema.names:
            continue
        array = table.column(column.field)
        is_int = column.kind == "id" and pa.types.is_integer(array.type)
        own = pa.int64() if is_int else _TYPES.get(column.kind, _TEXT)
        if not _holds(array.type, own):
            return None
        try:
            # Taken, so that lists lie end to end and null ones are empty.
            fields[column.field] = array.take(every_row).cast(own)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return None
    return _named(fields, wanted, len(table))


def _holds(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether each value of a type is one of another."""
    types = pa.types
    if types.is_dictionary(found):
        found = found.value_type
    if types.is_null(found):
        return True
    if types.is_list(wanted):
        is_list = types.is_list(found) or types.is_large_list(found)
        return is_list and _holds(found.value_type, wanted.value_type)
    if types.is_string(wanted):
        return bool(types.is_string(found) or types.is_large_string(found))
    return bool(types.is_integer(found) or (types.is_floating(wanted) and types.is_floating(found)))


def _named(
    fields: Mapping[str, pa.Array | pa.ChunkedArray], wanted: Sequence[Column], n_rows: int
) -> Columns | None:
    """The columns under their names; null where there is no such field."""
    columns: Columns = {}
    for column in wanted:
        array = fields.get(column.field)
        if isinstance(array, pa.ChunkedArray):
            array = array.chunk(0) if array.num_chunks == 1 else array.combine_chunks()
        if column.kind == "id":
            for name, own in ((f"{column.name}_int", pa.int64()), (f"{column.name}_str", _TEXT)):
                found = array is not None and array.type == own
                columns[name] = array if found else pa.nulls(n_rows, own)
            continue
        if array is None:
            array = pa.nulls(n_rows, _TYPES[column.kind])
        if column.kind == "integers" and array.values.null_count:
            return None
        if column.kind == "numbers":  # an integer that a float cannot hold?
            numbers = array.values.to_numpy(zero_copy_only=False)
            if (np.abs(numbers) >= _EXACT).any():
                return None
        columns[column.name] = array
    return columns
