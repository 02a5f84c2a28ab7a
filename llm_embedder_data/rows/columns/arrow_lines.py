"""Converts JSON lines to Arrow columns with Arrow's parser, if every line is one sound record."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.json
from numpy.typing import NDArray

from llm_embedder_data.rows.columns.arrow_tables import canonical_columns
from llm_embedder_data.rows.columns.column import ARROW_TYPES, TEXT, Column, Columns
from llm_embedder_data.rows.columns.instructions import SIDES

# In bytes. The types of a longer record's values are guessed, because parsing it takes too long.
_LONG_RECORD = 1 << 20

_INSTRUCTION = pa.struct([(side, TEXT) for side in SIDES])

# A line is searched in pieces of this many bytes, because the masks of a search take memory.
SEARCHED_BYTES = 1 << 20


def columns_of_lines(lines: memoryview, wanted: Sequence[Column]) -> Columns | None:
    """Return the wanted columns of JSON lines; None if any line may not be one sound record.

    Args:
        lines: whole lines, in bytes.
        wanted: the columns to read.
    """
    ends = _ends_of_records(lines)
    if ends is None:
        return None
    types: dict[str, pa.DataType] = {}
    for column in wanted:
        arrow_type = ARROW_TYPES.get(column.kind) or _type_in_first(lines[: ends[0]], column)
        if types.setdefault(column.field, arrow_type) != arrow_type:
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
    if any(table.column(n).null_count < len(table) for n, t in types.items() if t == _INSTRUCTION):
        return None  # Arrow's parser would ignore unknown names in an instruction
    return canonical_columns({name: table.column(name) for name in types}, wanted, len(ends))


def line_ends(content: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the index of each line break, ``[n]`` int64; plus the end if the last line has none.

    Args:
        content: at least one byte, ``[n_bytes]`` uint8.
    """
    found = [
        start + np.flatnonzero(content[start : start + SEARCHED_BYTES] == ord("\n"))
        for start in range(0, len(content), SEARCHED_BYTES)
    ]
    if content[-1] != ord("\n"):
        found.append(np.array([len(content)]))
    return np.concatenate(found)


def is_utf8(content: memoryview) -> bool:
    """Return whether bytes are UTF-8. Arrow's parser does not check the fields it ignores."""
    bounds = pa.py_buffer(np.array([0, len(content)], np.int64))
    text = pa.LargeStringArray.from_buffers(1, bounds, pa.py_buffer(content))
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


# --------------------------------------------------------------------------------------------------


def _type_in_first(record: memoryview, column: Column) -> pa.DataType:
    """Return the type of the first record's id or instruction; most files have only one type.

    Args:
        record: the first line.
        column: of kind ``id`` or ``instruction``.
    """
    otherwise = _INSTRUCTION if column.kind == "instruction" else pa.int64()
    if len(record) > _LONG_RECORD:  # a wrong guess only costs time
        found = re.search(
            rb'"%b"\s*:\s*"' % re.escape(column.field.encode(errors="replace")), record
        )
        return TEXT if found else otherwise
    try:
        is_text = isinstance(orjson.loads(record).get(column.field), str)
    except orjson.JSONDecodeError:
        return otherwise
    return TEXT if is_text else otherwise


def _ends_of_records(lines: memoryview) -> NDArray[np.int64] | None:
    """Return the index after each line, ``[n]`` int64; None if a line may not be a record.

    Arrow's parser ignores line breaks, so a record could span several lines, and a line could hold
    several records. But if every line begins with ``{`` and ends with ``}``, no sound record
    crosses a line break. Each line is then one record if the parser finds as many records as lines.
    """
    content = np.frombuffer(lines, np.uint8)
    ends = line_ends(content)
    starts = np.append(0, ends[:-1] + 1)
    ends = np.where(content[ends - 1] == ord("\r"), ends - 1, ends)
    is_sound = (content[starts] == ord("{")).all() and (content[ends - 1] == ord("}")).all()
    return ends if is_sound and is_utf8(lines) else None
