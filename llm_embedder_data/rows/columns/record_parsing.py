"""Parses raw rows into Python records, and says why a row is not a record."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import pyarrow as pa

from llm_embedder_data.core.shown_values import shown
from llm_embedder_data.rows.columns.arrow_lines import columns_of_lines
from llm_embedder_data.rows.columns.column import Column, Faults, RawRows, Record
from llm_embedder_data.rows.columns.instructions import SIDES, instruction_names
from llm_embedder_data.rows.files.json_text import parsed, utf8_text

# orjson parses integers from here on as floats.
_ROUNDED = 2.0**63

TOO_DEEP = "arrays or objects are nested too deep (take them out)"


def parsed_records(raw_rows: RawRows, wanted: Sequence[Column]) -> tuple[list[Record], Faults]:
    """Return a record per row, None if it has none; and what is wrong with each row.

    Args:
        raw_rows: JSON lines, records or a table: see ``RawRows``.
        wanted: the columns that will be read from the records.
    """
    if isinstance(raw_rows, memoryview):
        return records_of_lines(raw_rows, wanted)
    if isinstance(raw_rows, pa.RecordBatch):
        raw_rows = _records_of_table(raw_rows, wanted)
    records: list[Record] = []
    faults: Faults = []
    for record in raw_rows:
        fault = None
        if isinstance(record, bytes):
            record, fault = _parsed_leniently(record, wanted)
        if fault is None and not isinstance(record, dict):
            record, fault = None, not_an_object(record)
        records.append(record)
        faults.append(fault)
    return records, faults


def records_of_lines(lines: memoryview, wanted: Sequence[Column]) -> tuple[list[Record], Faults]:
    """Parse JSON lines; return a record per line, and what is wrong with each. Skip blank lines.

    Args:
        lines: whole lines, in bytes.
        wanted: the columns that will be read from the records.
    """
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
            record, fault = _parsed_leniently(line, wanted, error)
        if fault is None and type(record) is not dict:
            record, fault = None, not_an_object(record)
        records.append(record)
        faults.append(fault)
    return records, faults


def not_json(why: object) -> str:
    """Return the fault of a line that is not JSON."""
    return f"not JSON: {why} (a row is one {{...}} a line; correct it, or take it out)"


def not_an_object(record: Any) -> str:
    """Return the fault of a JSON value that is not an object."""
    return f"{shown(record)[:60]} is not a JSON object (a row is {{...}})"


def common_mistake(text: str, error: json.JSONDecodeError) -> str | None:
    """Return what is wrong with a line if it is a known mistake, such as a trailing comma."""
    if text.startswith("\ufeff"):
        return "it begins with a byte order mark"
    if error.msg == "Extra data":
        before = text[: error.pos].rstrip(" \t")[-1:]
        after = text[error.pos : error.pos + 1]
        if before == "\r":
            return "lines end in CR alone (convert them with: tr '\\r' '\\n')"
        if after == ",":
            return "a comma follows the record"
        return "something else follows the record, such as a second one on the line"
    if text.lstrip()[:2] == "{'":
        return "single quotes are Python's, not JSON's: it was written by print, not json.dumps"
    return None


# --------------------------------------------------------------------------------------------------


def _records_of_table(table: pa.RecordBatch, wanted: Sequence[Column]) -> list[dict[str, Any]]:
    names = [column.field for column in wanted if column.field in table.schema.names]
    values = [table.column(name).to_pylist() for name in names]
    rows = zip(*values, strict=True) if names else [()] * len(table)
    return [dict(zip(names, row, strict=True)) for row in rows]


def _may_be_rounded(record: Mapping[str, Any], wanted: Sequence[Column]) -> bool:
    """Return whether orjson may have turned an integer of a wanted column into a float."""
    for column in wanted:
        if column.kind in ("string", "strings"):
            continue
        value = record.get(column.field)
        for entry in value if type(value) is list else (value,):
            if type(entry) is float and abs(entry) >= _ROUNDED:
                return True
    return False


def _parsed_leniently(
    line: bytes | memoryview, wanted: Sequence[Column], error: Exception | None = None
) -> tuple[Any, str | None]:
    """Parse a line that orjson refuses; return its value, or what is wrong with it.

    Python's json module writes NaN, Infinity and lone surrogates. They are parsed here, so that the
    check of the value can name them. Whatever Arrow's parser accepts is accepted here too: whether
    a row is sound must not depend on its neighbours, which decide whether Arrow or Python parses.

    Args:
        line: one line.
        wanted: the columns that will be read from the record.
        error: why orjson refused the line, if it was tried.
    """
    why: object
    try:
        text = utf8_text(line)
    except ValueError as found:
        return None, not_json(found)
    try:
        return parsed(text), None
    except json.JSONDecodeError as found:
        why = common_mistake(text, found) or error or found
    except RecursionError:
        why = TOO_DEEP
    columns = columns_of_lines(memoryview(text.strip().encode()), wanted) if wanted else None
    if columns is None:
        return None, not_json(why)
    values = {name: array[0].as_py() for name, array in columns.items()}
    for column in wanted:
        if column.kind == "id":
            as_int = values[f"{column.name}_int"]
            values[column.name] = values[f"{column.name}_str"] if as_int is None else as_int
        elif column.kind == "instruction":
            texts = [values[name] for name in instruction_names(column)]
            values[column.name] = dict(zip(SIDES, texts, strict=True))
    return {column.field: values[column.name] for column in wanted}, None
