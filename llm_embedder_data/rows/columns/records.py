"""Converts records to Arrow columns value by value, and describes each value that does not fit."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from llm_embedder_data.core.printable import one_line
from llm_embedder_data.core.shown_values import shown
from llm_embedder_data.rows.columns.column import (
    ARROW_TYPES,
    INEXACT_INTEGERS,
    Column,
    Columns,
    Faults,
    Kind,
    Record,
)
from llm_embedder_data.rows.columns.instructions import instruction_columns_of_records
from llm_embedder_data.rows.files.json_text import LongInteger

# What each kind asks of a value in a record, in the words of JSON.
_NEEDED_VALUE: dict[Kind, str] = {
    "string": "a string",
    "text": "a string",
    "strings": "a list of strings",
    "numbers": "a list of numbers",
    "integers": "a list of integers",
    "id": "an integer or a string",
    "instruction": "a string, or an object with the strings query and key",
}

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def columns_of_records(
    records: Sequence[Record], wanted: Sequence[Column], faults: Faults
) -> Columns:
    """Return the wanted columns of records, as arrays by name, ``[n_rows]`` each.

    Args:
        records: one per row; None for a row that could not be parsed.
        wanted: the columns to read.
        faults: what is wrong with each row so far; faults that are found here are added.
    """
    columns: Columns = {}
    for column in wanted:
        values = [None if record is None else record.get(column.field) for record in records]
        if column.kind == "id":
            columns |= _id_arrays(values, column, faults)
            continue
        if column.kind == "instruction":
            columns |= instruction_columns_of_records(values, column, faults, _array)
            continue
        if column.kind == "text":
            values = [_decimal(value) for value in values]
        if column.lenient:
            values = [_fitting(value, column.kind) for value in values]
        columns[column.name] = _array(values, column, faults)
    return columns


# --------------------------------------------------------------------------------------------------


def _id_arrays(values: list[Any], column: Column, faults: Faults) -> Columns:
    """Return the two arrays of a column of ids.

    pandas stores a column of integers as floats if some are missing. So 3.0 becomes 3, and NaN
    becomes null.
    """
    ints: list[int | None] = []
    strings: list[str | None] = []
    for row, given in enumerate(values):
        value = given
        if type(given) is float and math.isnan(given):
            value = None
        elif type(given) is float and given.is_integer() and abs(given) < INEXACT_INTEGERS:
            value = int(given)
        is_int = type(value) is int and not _is_over_64_bits(value)
        if value is not None and not is_int and not isinstance(value, str):
            faults[row] = faults[row] or _why_not(value, column)
        ints.append(value if is_int else None)
        strings.append(value if isinstance(value, str) else None)
    return {
        f"{column.name}_int": pa.array(ints, pa.int64()),
        f"{column.name}_str": _array(strings, replace(column, kind="string"), faults),
    }


def _array(values: list[Any], column: Column, faults: Faults) -> pa.Array:
    """Return the array of a column; a value that does not fit becomes null and adds a fault."""
    array = _converted(values, column.kind)
    if array is not None:
        return array
    for row, value in enumerate(values):
        if _converted([value], column.kind) is None:
            faults[row] = faults[row] or _why_not(value, column)
            values[row] = None
    return pa.array(values, ARROW_TYPES[column.kind])


def _converted(values: list[Any], kind: Kind) -> pa.Array | None:
    """Return the array of values of a kind; None if a value does not fit."""
    # Without these checks, pa.array would take the string "abc" for the list ["a", "b", "c"], the
    # float 1.0 for the integer 1, and true for the number 1.
    python_type = str if kind in ("string", "text") else list
    if not set(map(type, values)) <= {python_type, type(None)}:
        return None
    if kind in ("integers", "numbers"):
        entry_types = {type(entry) for entries in values for entry in entries or ()}
        # Nulls among numbers are allowed here. The check of teacher scores refuses and names them.
        if not entry_types <= ({int} if kind == "integers" else {int, float, type(None)}):
            return None
    try:
        return pa.array(values, ARROW_TYPES[kind])
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError):
        return None


def _fitting(value: Any, kind: Kind) -> Any:
    """Return a lenient column's value, or None if the column cannot hold it."""
    value = [value] if kind == "strings" and isinstance(value, str) else value
    return None if _converted([value], kind) is None else value


def _decimal(value: Any) -> Any:
    """Return the decimal text of a finite number, and any other value unchanged."""
    if type(value) is LongInteger:
        return value.digits
    if type(value) is int:
        return str(value)
    return str(value) if type(value) is float and math.isfinite(value) else value


def _why_not(value: Any, column: Column) -> str:
    """Return why a column cannot hold a value."""
    entries = value if type(value) is list else [value]
    is_list = entries is value
    name = one_line(column.field)
    location = f"{name}={shown(value)}"
    types = set(map(type, entries)) - {type(None)}
    if types == {str} and column.kind in (("strings",) if is_list else ("string", "text")):
        return _why_not_text(entries, name, location, is_list)
    long = [entry for entry in entries if type(entry) is LongInteger or _is_over_64_bits(entry)]
    if long and column.kind in ("id", "integers") and types <= {int, LongInteger}:
        verb = "holds" if is_list else "is"
        remedy = "write it as a string" if column.kind == "id" else _NEEDED_VALUE[column.kind]
        return f"{location} {verb} an integer over 64 bits ({remedy})"
    if column.kind == "numbers" and is_list and types <= {int, float, LongInteger}:
        return f"{location} holds an integer that a 64-bit float cannot hold exactly (round it)"
    if column.kind == "text" and types == {float} and not is_list:
        return f"{location} is not a finite number (give a text, or null)"
    return f"{location} ({_NEEDED_VALUE[column.kind]} is needed)"


def _why_not_text(entries: list[str | None], name: str, location: str, is_list: bool) -> str:
    """Return why Arrow cannot hold a string, or a list of strings."""
    for number, text in enumerate(entries):
        if text is not None and _LONE_SURROGATE.search(text):
            location = f"{name}, entry {number}" if is_list else location
            return (
                f"{location} holds a lone surrogate, half of a character such as an emoji "
                "(write both halves of its \\u escape, or take it out)"
            )
    return f"{location} is longer than 2 GiB, the most that an Arrow string can hold"


def _is_over_64_bits(value: Any) -> bool:
    return type(value) is int and not -(2**63) <= value < 2**63
