"""What a file gives, as Arrow columns whose types depend on the columns alone, never on the rows.

There are two ways to them. One goes record by record, in Python, and can say of each value what is
wrong with it. The other has Arrow's own parser take many lines at once, in a third of the time and
beside other threads; it takes only lines about which nothing needs to be said, and gives for them
what the first way would.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias
from uuid import uuid4

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.json
from numpy.typing import NDArray

from llm_embedder_data.core.printable import one_line
from llm_embedder_data.rows.json_text import LongInteger, parsed, utf8_text

Record = Mapping[str, Any] | None  # None stands for a line that could not be parsed
Faults = list[str | None]  # a row: None, or what is wrong with it

# Rows of a file: lines, records (one that is bytes is JSON text), or a RecordBatch.
Block: TypeAlias = memoryview | list[Any] | Any

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

# From here on orjson makes floats of integers.
_ROUNDED = 2.0**63

# A record that is longer is not parsed for the type of its ids alone, bytes.
_LONG_RECORD = 1 << 20

# A line that is longer is read in two to three times its memory, bytes.
_LONG_LINE = 8 << 20

# Searched at a time, bytes.
_SEARCHED = 1 << 20

# A string that is not parsed where it needs no change, bytes; and what stands for it meanwhile.
_LONG_STRING = 1 << 20
_IN_PLACE = f"a long string {uuid4().hex} "

# A long line with more strings and lists is Arrow's to parse, as Python's objects would be many.
_FEW = 200

# A value in a sentence: its characters, and how deep and how wide it is shown.
_SHOWN = 80
_SHOWN_DEPTH = 4
_SHOWN_ENTRIES = 20

_TOO_DEEP = "arrays or objects are nested too deep (take them out)"

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


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
    if isinstance(block, memoryview) and is_long_line(block):
        return _of_long_line(block, wanted)
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
            values = [_decimal(value) for value in values]
        columns[column.name] = _array(values, column, faults)
    return columns


def is_long_line(block: Block) -> bool:
    """Whether a block is one line of many megabytes."""
    if not isinstance(block, memoryview) or len(block) <= _LONG_LINE:
        return False
    return len(_line_ends(np.frombuffer(block, np.uint8))) == 1


def shown(value: Any) -> str:
    """A value in a sentence: short, whatever it is."""
    text = _shown(value, _SHOWN_DEPTH)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def _shown(value: Any, depth: int) -> str:
    if isinstance(value, str | bytes):
        return repr(value[:_SHOWN]) if len(value) <= _SHOWN else f"{value[:_SHOWN]!r}..."
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 1000:
        return "an integer of hundreds of digits"
    if type(value) in (list, tuple, dict):
        brackets = "{}" if type(value) is dict else "[]"
        if value and not depth:
            return f"{brackets[0]}...{brackets[1]}"
        parts: list[str] = []
        for entry in value:
            part = _shown(entry, depth - 1)
            parts.append(f"{part}: {_shown(value[entry], depth - 1)}" if brackets == "{}" else part)
            if len(parts) == _SHOWN_ENTRIES:
                parts.append("...")
                break
        return f"{brackets[0]}{', '.join(parts)}{brackets[1]}"
    if value is None or isinstance(value, bool | int | float | LongInteger):
        return repr(value)
    try:
        return repr(value)[: 2 * _SHOWN]
    except Exception:  # an object of the user's, whose own repr fails
        return f"an object of {type(value).__name__}"


# -- record by record ------------------------------------------------------------------------------


def _records(block: Block, wanted: Sequence[Column]) -> tuple[list[Record], Faults]:
    if isinstance(block, memoryview):
        return _records_of_lines(block, wanted)
    if isinstance(block, pa.RecordBatch):
        names = [one.field for one in wanted if one.field in block.schema.names]
        values = [block.column(name).to_pylist() for name in names]
        rows = zip(*values, strict=True) if names else [()] * len(block)
        block = [dict(zip(names, row, strict=True)) for row in rows]
    records: list[Record] = []
    faults: Faults = []
    for record in block:
        fault = None
        if isinstance(record, bytes):
            record, fault = _lenient(record, wanted)
        if fault is None and not isinstance(record, dict):
            record, fault = None, _no_object(record)
        records.append(record)
        faults.append(fault)
    return records, faults


def _records_of_lines(lines: memoryview, wanted: Sequence[Column]) -> tuple[list[Record], Faults]:
    records: list[Record] = []
    faults: Faults = []
    for line in bytes(lines).split(b"\n"):
        if not line or line.isspace():
            continue
        fault = None
        try:
            record = orjson.loads(line)
            if type(record) is dict and _may_be_rounded(record, wanted):
                record = parsed(utf8_text(line))
        except orjson.JSONDecodeError as error:
            record, fault = _lenient(line, wanted, error)
        if fault is None and type(record) is not dict:
            record, fault = None, _no_object(record)
        records.append(record)
        faults.append(fault)
    return records, faults


def _of_long_line(line: memoryview, wanted: Sequence[Column]) -> tuple[Columns, Faults]:
    """The columns of one long line, in as little memory as there is a way for.

    Long strings without an escape stay where they are. Else Python's parser takes as much memory
    beside the line as its strings do, and Arrow's twice the line's.
    """
    columns = _of_long_strings(line, wanted)
    if columns is not None:
        return columns, [None]
    if not _is_light(line):
        columns = _of_lines(line, wanted)
        if columns is not None:
            return columns, [None]
    record: Any = None
    fault = None
    try:
        text = utf8_text(line)
        line.release()  # whoever gave it does not need it: its text is here
        record = parsed(text)
    except json.JSONDecodeError as error:
        fault = _no_json(_named_mistake(text, error) or error)
    except RecursionError:
        columns = _of_lines(memoryview(text.encode()), wanted)
        if columns is not None:
            return columns, [None]
        fault = _no_json(_TOO_DEEP)
    except ValueError as error:
        fault = _no_json(error)
    text = ""
    if fault is None and type(record) is not dict:
        record, fault = None, _no_object(record)
    faults = [fault]
    return columns_of_records([record], wanted, faults), faults


def _of_long_strings(line: memoryview, wanted: Sequence[Column]) -> Columns | None:
    """The columns of a sound line whose long strings are looked at in place; None for another.

    The line is read with a short name in place of each of them.
    """
    spans = _long_strings(line)
    if not spans or not _is_utf8(line):
        return None
    parts: list[bytes | memoryview] = []
    end_before, named = 0, {}
    for number, (start, end) in enumerate(spans):
        name = f"{_IN_PLACE}{number}"
        parts += [line[end_before:start], name.encode()]
        end_before, named[name] = end, (start, end)
    short = b"".join([*parts, line[end_before:]])
    records, faults = _records_of_lines(memoryview(short), wanted)
    columns = columns_of_records(records, wanted, faults)
    if faults != [None]:
        return None
    content = pa.py_buffer(line)
    for name, array in columns.items():
        texts = array.values if array.type == STRINGS else array
        if texts.type != _TEXT or not any(text in named for text in texts.to_pylist()):
            continue
        if texts.null_count:
            return None
        texts = _in_place(texts.to_pylist(), named, content)
        one_list = pa.array([0, len(texts)], pa.int32())
        is_list = array.type == STRINGS
        columns[name] = pa.ListArray.from_arrays(one_list, texts) if is_list else texts
    return columns


def _in_place(
    texts: list[str], named: Mapping[str, tuple[int, int]], content: pa.Buffer
) -> pa.StringArray:
    """Texts of which some are places of a line's content; a single one is not copied."""
    if len(texts) == 1:
        bounds = np.array(named[texts[0]], np.int32)
        return pa.StringArray.from_buffers(1, pa.py_buffer(bounds), content)
    parts = [
        content.slice(named[text][0], named[text][1] - named[text][0])
        if text in named
        else pa.py_buffer(text.encode())
        for text in texts
    ]
    ends = np.cumsum([0, *(part.size for part in parts)])
    data = np.empty(int(ends[-1]), np.uint8)
    for part, start, end in zip(parts, ends[:-1], ends[1:], strict=True):
        data[start:end] = np.frombuffer(part, np.uint8)
    bounds = ends.astype(np.int32)
    return pa.StringArray.from_buffers(len(texts), pa.py_buffer(bounds), pa.py_buffer(data))


def _long_strings(line: memoryview) -> list[tuple[int, int]]:
    """Where the long strings of a JSON text lie, quotes left out; none where there are many."""
    content = np.frombuffer(line, np.uint8)
    quotes: list[int] = []
    for start in range(0, len(content), _SEARCHED):
        found = np.flatnonzero(content[start : start + _SEARCHED] == ord('"'))
        quotes += (found + start).tolist()
        if len(quotes) > 2 * _FEW:
            return []
    spans, opened = [], -1
    for quote in quotes:
        if opened < 0:
            opened = quote
            continue
        place = quote
        while content[place - 1] == ord("\\"):
            place -= 1
        if (quote - place) % 2:
            continue  # an escaped one
        if quote - opened > _LONG_STRING and _is_plain(content[opened + 1 : quote]):
            spans.append((opened + 1, quote))
        opened = -1
    return spans


def _is_plain(text: NDArray[np.uint8]) -> bool:
    """Whether a JSON string holds no escape, and nothing that needs one."""
    for start in range(0, len(text), _SEARCHED):
        part = text[start : start + _SEARCHED]
        if part.min() < 0x20 or (part == ord("\\")).any():
            return False
    return True


def _is_light(line: memoryview) -> bool:
    """Whether Python's strings for a line take about as much memory as the line."""
    content = np.frombuffer(line, np.uint8)
    n_characters = n_objects = highest = 0
    for start in range(0, len(content), _SEARCHED):
        part = content[start : start + _SEARCHED]
        n_characters += int(np.count_nonzero(part.view(np.int8) >= -64))  # no continuation bytes
        n_objects += int(np.count_nonzero(part == ord('"'))) // 2
        n_objects += int(np.count_nonzero(part == ord("[")))
        highest = max(highest, int(part.max()))
    width = 4 if highest >= 0xF0 else 2 if highest >= 0xC4 else 1
    return n_objects <= _FEW and n_characters * width <= 1.1 * len(content)


def _may_be_rounded(record: Mapping[str, Any], wanted: Sequence[Column]) -> bool:
    """Whether an integer may have become a float on its way into a wanted column."""
    for column in wanted:
        if column.kind in ("string", "strings"):
            continue
        value = record.get(column.field)
        for one in value if type(value) is list else (value,):
            if type(one) is float and abs(one) >= _ROUNDED:
                return True
    return False


def _lenient(
    line: bytes | memoryview, wanted: Sequence[Column], error: Exception | None = None
) -> tuple[Any, str | None]:
    """What orjson refuses, but is read all the same.

    NaN and Infinity, which Python writes, reach the rule that names them, as do halves of
    characters. What Arrow's parser takes among other lines, it takes here too: a row is not to
    depend on its neighbours.
    """
    why: object
    try:
        text = utf8_text(line)
    except ValueError as found:
        return None, _no_json(found)
    try:
        return parsed(text), None
    except json.JSONDecodeError as found:
        why = _named_mistake(text, found) or error or found
    except RecursionError:
        why = _TOO_DEEP
    columns = _of_lines(memoryview(text.strip().encode()), wanted) if wanted else None
    if columns is None:
        return None, _no_json(why)
    values = {name: array[0].as_py() for name, array in columns.items()}
    for column in wanted:
        if column.kind == "id":
            own = values[f"{column.name}_int"]
            values[column.name] = values[f"{column.name}_str"] if own is None else own
    return {column.field: values[column.name] for column in wanted}, None


def _no_json(why: object) -> str:
    return f"not JSON: {why} (a row is one {{...}} a line; mend it, or take it out)"


def _named_mistake(text: str, error: json.JSONDecodeError) -> str | None:
    """What people do to JSON lines, where it is known by its look."""
    if text.startswith("\ufeff"):
        return "a byte order mark stands at its beginning"
    if error.msg == "Extra data":
        between = text[: error.pos].rstrip(" \t")[-1:]
        behind = text[error.pos : error.pos + 1]
        if between == "\r":
            return "lines end in CR alone (convert them with: tr '\\r' '\\n')"
        if behind == ",":
            return "a comma stands behind the record"
        return "something else stands behind the record, as where two are on one line"
    if text.lstrip()[:2] == "{'":
        return "single quotes are Python's, not JSON's: it was written by print, not json.dumps"
    return None


def _no_object(record: Any) -> str:
    return f"{shown(record)[:60]} is no JSON object (a row is {{...}})"


def _decimal(value: Any) -> Any:
    """The decimal text of a number; any other value as it is."""
    if type(value) is LongInteger:
        return value.digits
    if type(value) is int:
        return str(value)
    return str(value) if type(value) is float and math.isfinite(value) else value


def _why_not(value: Any, column: Column) -> str:
    """What is wrong with a value that its column cannot hold."""
    entries = value if type(value) is list else [value]
    name = one_line(column.field)
    place = f"{name}={shown(value)}"
    kinds = set(map(type, entries)) - {type(None)}
    if kinds == {str} and (type(value) is list) == (column.kind == "strings"):
        for number, text in enumerate(entries):
            if text is not None and _LONE_SURROGATE.search(text):
                place = place if entries is not value else f"{name}, entry {number}"
                return (
                    f"{place} holds a lone surrogate, half of a character such as an emoji "
                    "(write both halves of its \\u escape, or take it out)"
                )
        return f"{place} is longer than Arrow's strings (2 GiB is the most)"
    long = [one for one in entries if type(one) is LongInteger or _is_long(one)]
    if long and column.kind in ("id", "integers") and kinds <= {int, LongInteger}:
        verb = "is" if entries is not value else "holds"
        remedy = "write it as a string" if column.kind == "id" else _NEEDED[column.kind]
        return f"{place} {verb} an integer over 64 bits ({remedy})"
    if column.kind == "numbers" and type(value) is list and kinds <= {int, float, LongInteger}:
        return f"{place} holds an integer that no float of 64 bits is equal to (round it)"
    if column.kind == "text" and kinds == {float} and entries is not value:
        return f"{place} is no finite number (give a text, or null)"
    return f"{place} ({_NEEDED[column.kind]} is needed)"


def _is_long(value: Any) -> bool:
    return type(value) is int and not -(2**63) <= value < 2**63


def _array(values: list[Any], column: Column, faults: Faults) -> pa.Array:
    array = _converted(values, column.kind)
    if array is not None:
        return array
    for row, value in enumerate(values):
        if _converted([value], column.kind) is None:
            faults[row] = faults[row] or _why_not(value, column)
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
        is_int = type(value) is int and not _is_long(value)
        if value is not None and not is_int and not isinstance(value, str):
            faults[row] = faults[row] or _why_not(value, column)
        ints.append(value if is_int else None)
        strings.append(value if isinstance(value, str) else None)
    return {
        f"{column.name}_int": pa.array(ints, pa.int64()),
        f"{column.name}_str": _array(strings, replace(column, kind="string"), faults),
    }


# -- many at once ----------------------------------------------------------------------------------


def _type_of_ids(first: memoryview, column: Column) -> pa.DataType:
    """That of the first record: in most files all are of one type."""
    if len(first) > _LONG_RECORD:  # a guess is enough: a wrong one costs time alone
        found = re.search(
            rb'"%b"\s*:\s*"' % re.escape(column.field.encode(errors="replace")), first
        )
        return _TEXT if found else pa.int64()
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
    ends = _line_ends(content)
    starts = np.append(0, ends[:-1] + 1)
    ends = np.where(content[ends - 1] == ord("\r"), ends - 1, ends)
    sound = (content[starts] == ord("{")).all() and (content[ends - 1] == ord("}")).all()
    return ends if sound and _is_utf8(lines) else None


def _line_ends(content: NDArray[np.uint8]) -> NDArray[np.int64]:
    """``[n]``, the place of each line's break; of a last line without one, its end."""
    found = [
        start + np.flatnonzero(content[start : start + _SEARCHED] == ord("\n"))
        for start in range(0, len(content), _SEARCHED)
    ]
    if content[-1] != ord("\n"):
        found.append(np.array([len(content)]))
    return np.concatenate(found)


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
