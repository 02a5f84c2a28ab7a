"""Converts a JSON line of many megabytes to Arrow columns, in as little memory as possible.

There are three ways, tried in this order:

1. Long strings without escapes are not copied. A short line, in which placeholders replace them, is
   parsed; then the placeholders in the columns are replaced by slices of the original line.
2. Arrow's parser takes twice the line's memory. It is used if Python's strings would take more.
3. Python's parser takes as much memory as its strings do, in addition to the line.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard
from uuid import uuid4

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from llm_embedder_data.rows.columns.arrow_lines import (
    SEARCHED_BYTES,
    columns_of_lines,
    is_utf8,
    line_ends,
)
from llm_embedder_data.rows.columns.column import STRINGS, TEXT, Column, Columns, Faults, RawRows
from llm_embedder_data.rows.columns.record_parsing import (
    TOO_DEEP,
    common_mistake,
    not_an_object,
    not_json,
    records_of_lines,
)
from llm_embedder_data.rows.columns.records import columns_of_records
from llm_embedder_data.rows.files.json_text import parsed, utf8_text

# In bytes. Longer lines take this path: the others need two to three times the line's memory.
_LONG_LINE = 8 << 20

# In bytes. Longer strings without escapes are not copied.
_LONG_STRING = 1 << 20
_PLACEHOLDER = f"a long string {uuid4().hex} "

# A line with more strings and lists goes to Arrow's parser, because Python makes an object of each.
_MOST_OBJECTS = 200


def is_long_line(raw_rows: RawRows) -> TypeGuard[memoryview]:
    """Return whether rows are one JSON line of many megabytes."""
    if not isinstance(raw_rows, memoryview) or len(raw_rows) <= _LONG_LINE:
        return False
    return len(line_ends(np.frombuffer(raw_rows, np.uint8))) == 1


def columns_of_long_line(line: memoryview, wanted: Sequence[Column]) -> tuple[Columns, Faults]:
    """Return the wanted columns of one line, and what is wrong with it.

    The line's memory may be released, so do not use it afterwards.

    Args:
        line: see :func:`is_long_line`.
        wanted: the columns to read.

    Returns:
        The arrays by name, with one row each; and the faults, with one entry.
    """
    columns = _columns_with_strings_in_place(line, wanted)
    if columns is None and not _is_light_in_python(line):
        columns = columns_of_lines(line, wanted)
    if columns is not None:
        return columns, [None]
    return _columns_by_python(line, wanted)


# --------------------------------------------------------------------------------------------------


def _columns_by_python(line: memoryview, wanted: Sequence[Column]) -> tuple[Columns, Faults]:
    """Parse a line with Python's parser, or with Arrow's if it is nested too deep."""
    record: Any = None
    fault = None
    try:
        text = utf8_text(line)
        line.release()  # its content is in text
        record = parsed(text)
    except json.JSONDecodeError as error:
        fault = not_json(common_mistake(text, error) or error)
    except RecursionError:
        columns = columns_of_lines(memoryview(text.encode()), wanted)
        if columns is not None:
            return columns, [None]
        fault = not_json(TOO_DEEP)
    except ValueError as error:
        fault = not_json(error)
    text = ""
    if fault is None and type(record) is not dict:
        record, fault = None, not_an_object(record)
    faults = [fault]
    return columns_of_records([record], wanted, faults), faults


def _columns_with_strings_in_place(line: memoryview, wanted: Sequence[Column]) -> Columns | None:
    """Return the columns of a sound line without copying its long strings.

    Returns:
        The arrays by name; None if there are no such strings or the line has a fault.
    """
    spans = _long_strings(line)
    if not spans or not is_utf8(line):
        return None
    parts: list[bytes | memoryview] = []
    previous_end, span_of = 0, {}
    for number, (start, end) in enumerate(spans):
        placeholder = f"{_PLACEHOLDER}{number}"
        parts += [line[previous_end:start], placeholder.encode()]
        previous_end, span_of[placeholder] = end, (start, end)
    short = b"".join([*parts, line[previous_end:]])
    records, faults = records_of_lines(memoryview(short), wanted)
    columns = columns_of_records(records, wanted, faults)
    if faults != [None]:
        return None
    content = pa.py_buffer(line)
    for name, array in columns.items():
        texts = array.values if array.type == STRINGS else array
        if texts.type != TEXT or not any(text in span_of for text in texts.to_pylist()):
            continue
        if texts.null_count:
            return None
        texts = _in_place(texts.to_pylist(), span_of, content)
        one_list = pa.array([0, len(texts)], pa.int32())
        is_list = array.type == STRINGS
        columns[name] = pa.ListArray.from_arrays(one_list, texts) if is_list else texts
    return columns


def _in_place(
    texts: list[str], span_of: Mapping[str, tuple[int, int]], content: pa.Buffer
) -> pa.StringArray:
    """Return an array of texts, in which slices of the content replace the placeholders.

    A single text is not copied.

    Args:
        texts: texts and placeholders.
        span_of: (start, end) in ``content`` by placeholder.
        content: the original line.
    """
    if len(texts) == 1:
        bounds = np.array(span_of[texts[0]], np.int32)
        return pa.StringArray.from_buffers(1, pa.py_buffer(bounds), content)
    parts = [
        content.slice(span_of[text][0], span_of[text][1] - span_of[text][0])
        if text in span_of
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
    """Return (start, end) of each long string without escapes; [] if there are many strings."""
    content = np.frombuffer(line, np.uint8)
    quotes: list[int] = []
    for start in range(0, len(content), SEARCHED_BYTES):
        found = np.flatnonzero(content[start : start + SEARCHED_BYTES] == ord('"'))
        quotes += (found + start).tolist()
        if len(quotes) > 2 * _MOST_OBJECTS:
            return []
    spans, opening = [], -1
    for quote in quotes:
        if opening < 0:
            opening = quote
            continue
        first_backslash = quote
        while content[first_backslash - 1] == ord("\\"):
            first_backslash -= 1
        if (quote - first_backslash) % 2:
            continue  # an escaped quote
        if quote - opening > _LONG_STRING and _is_plain(content[opening + 1 : quote]):
            spans.append((opening + 1, quote))
        opening = -1
    return spans


def _is_plain(text: NDArray[np.uint8]) -> bool:
    """Return whether a JSON string has no escapes and no characters that need one."""
    for start in range(0, len(text), SEARCHED_BYTES):
        part = text[start : start + SEARCHED_BYTES]
        if part.min() < 0x20 or (part == ord("\\")).any():
            return False
    return True


def _is_light_in_python(line: memoryview) -> bool:
    """Return whether Python's objects for a line take about as much memory as the line."""
    content = np.frombuffer(line, np.uint8)
    n_characters = n_objects = highest = 0
    for start in range(0, len(content), SEARCHED_BYTES):
        part = content[start : start + SEARCHED_BYTES]
        n_characters += int(np.count_nonzero(part.view(np.int8) >= -64))  # no continuation bytes
        n_objects += int(np.count_nonzero(part == ord('"'))) // 2
        n_objects += int(np.count_nonzero(part == ord("[")))
        highest = max(highest, int(part.max()))
    width = 4 if highest >= 0xF0 else 2 if highest >= 0xC4 else 1  # bytes per character in Python
    return n_objects <= _MOST_OBJECTS and n_characters * width <= 1.1 * len(content)
