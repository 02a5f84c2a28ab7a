"""Splits the rows' instructions into two columns of texts: one for queries, one for keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from llm_embedder_data.core.errors import did_you_mean
from llm_embedder_data.core.printable import one_line
from llm_embedder_data.core.shown_values import shown
from llm_embedder_data.rows.columns.column import TEXT, Column, Columns, Faults

SIDES = ("query", "key")

# Makes an array of texts and nulls, and adds a fault to each row with another value.
TextArray = Callable[[list[Any], Column, Faults], pa.Array]


def instruction_names(column: Column) -> list[str]:
    """Return the names of the two arrays of a column of instructions."""
    return [f"{side}_{column.name}" for side in SIDES]


def instruction_columns(array: pa.Array | None, column: Column, n_rows: int) -> Columns:
    """Return the two arrays of a column of instructions.

    Args:
        array: texts, which are the queries' instructions; structs with the texts ``query`` and
            ``key``; or None if the file does not have the column. ``[n_rows]``.
        column: the column.
        n_rows: the number of rows.
    """
    query = key = pa.nulls(n_rows, TEXT)
    if array is not None and pa.types.is_struct(array.type):
        names = [field.name for field in array.type]
        query, key = (
            pc.struct_field(array, side).cast(TEXT) if side in names else pa.nulls(n_rows, TEXT)
            for side in SIDES
        )
    elif array is not None:
        query = array.cast(TEXT)
    return dict(zip(instruction_names(column), (query, key), strict=True))


def instruction_columns_of_records(
    values: Sequence[Any], column: Column, faults: Faults, text_array: TextArray
) -> Columns:
    """Return the two arrays of a column of instructions, from the values of records.

    Args:
        values: one per row: None, a text, or ``{"query": ..., "key": ...}`` with a text or None
            each.
        column: the column.
        faults: what is wrong with each row so far; faults that are found here are added.
        text_array: makes the array for queries or keys from its texts.
    """
    for row, value in enumerate(values):
        if isinstance(value, dict):
            faults[row] = faults[row] or unknown_sides(value, column.field)
        elif value is not None and not isinstance(value, str):
            faults[row] = faults[row] or (
                f"{one_line(column.field)}={shown(value)} (a row's own instruction is a string, or "
                "an object with the strings query and key; if the column holds something else, "
                "read the field from another column, as in instruction: none)"
            )
    columns: Columns = {}
    for side, name in zip(SIDES, instruction_names(column), strict=True):
        called = f"{column.field}.{side}"
        texts = [_text_of(value, side) for value in values]
        columns[name] = text_array(texts, Column(name, "string", called), faults)
    return columns


def unknown_sides(value: Mapping[str, Any], field: str) -> str | None:
    """Return what is wrong with the names in an instruction that is an object; or None.

    Args:
        value: the object. A name whose value is null counts as missing.
        field: the column's name in the file.
    """
    unknown = [name for name, text in value.items() if name not in SIDES and text is not None]
    if not unknown:
        return None
    return (
        f"{one_line(field)} has {', '.join(map(shown, unknown))}"
        f"{did_you_mean(unknown[0], SIDES)} (a row's own instruction is a string, or an object "
        "with the strings query and key)"
    )


def is_instruction_type(found: pa.DataType) -> bool:
    """Return whether a column of this Arrow type can be read as instructions."""
    types = pa.types
    if types.is_struct(found):
        return all(field.name in SIDES and _is_text_type(field.type) for field in found)
    return _is_text_type(found)


# --------------------------------------------------------------------------------------------------


def _text_of(value: Any, side: str) -> Any:
    if isinstance(value, dict):
        return value.get(side)
    return value if isinstance(value, str) and side == "query" else None


def _is_text_type(found: pa.DataType) -> bool:
    types = pa.types
    if types.is_dictionary(found):
        found = found.value_type
    return bool(types.is_null(found) or types.is_string(found) or types.is_large_string(found))
