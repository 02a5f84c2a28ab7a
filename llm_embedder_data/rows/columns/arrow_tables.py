"""Converts Arrow tables to canonical columns, if their types show that every value is sound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from llm_embedder_data.rows.columns.column import (
    ARROW_TYPES,
    INEXACT_INTEGERS,
    TEXT,
    Column,
    Columns,
)
from llm_embedder_data.rows.columns.instructions import instruction_columns, is_instruction_type


def columns_of_table(table: pa.RecordBatch, wanted: Sequence[Column]) -> Columns | None:
    """Return the wanted columns of a table; None if its types allow values that do not fit."""
    fields: dict[str, pa.Array] = {}
    every_row = pa.array(np.arange(len(table)))
    for column in wanted:
        if column.field not in table.schema.names:
            continue
        array = table.column(column.field)
        if column.kind == "instruction":
            if not is_instruction_type(array.type):
                return None
            fields[column.field] = array.take(every_row)
            continue
        is_int_id = column.kind == "id" and pa.types.is_integer(array.type)
        arrow_type = pa.int64() if is_int_id else ARROW_TYPES.get(column.kind, TEXT)
        if not _fits(array.type, arrow_type):
            return None
        try:
            # take() makes lists contiguous and null lists empty.
            fields[column.field] = array.take(every_row).cast(arrow_type)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return None
    return canonical_columns(fields, wanted, len(table))


def canonical_columns(
    fields: Mapping[str, pa.Array | pa.ChunkedArray], wanted: Sequence[Column], n_rows: int
) -> Columns | None:
    """Return a file's fields under their canonical names; None if a value may not fit.

    Args:
        fields: arrays by name in the file. Ids are int64 or strings; instructions are strings or
            structs; other arrays have their kind's type in ``ARROW_TYPES``. Missing fields are
            null.
        wanted: the columns to return.
        n_rows: the number of rows.
    """
    columns: Columns = {}
    for column in wanted:
        array = fields.get(column.field)
        if isinstance(array, pa.ChunkedArray):
            array = array.chunk(0) if array.num_chunks == 1 else array.combine_chunks()
        if column.kind == "id":
            for name, id_type in ((f"{column.name}_int", pa.int64()), (f"{column.name}_str", TEXT)):
                is_found = array is not None and array.type == id_type
                columns[name] = array if is_found else pa.nulls(n_rows, id_type)
            continue
        if column.kind == "instruction":
            columns |= instruction_columns(array, column, n_rows)
            continue
        if array is None:
            array = pa.nulls(n_rows, ARROW_TYPES[column.kind])
        if column.kind == "integers" and array.values.null_count:
            return None
        if column.kind == "numbers":  # some may be rounded integers
            numbers = array.values.to_numpy(zero_copy_only=False)
            if (np.abs(numbers) >= INEXACT_INTEGERS).any():
                return None
        columns[column.name] = array
    return columns


def _fits(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Return whether every value of one type is a value of the other."""
    types = pa.types
    if types.is_dictionary(found):
        found = found.value_type
    if types.is_null(found):
        return True
    if types.is_list(wanted):
        is_list = types.is_list(found) or types.is_large_list(found)
        return is_list and _fits(found.value_type, wanted.value_type)
    if types.is_string(wanted):
        return bool(types.is_string(found) or types.is_large_string(found))
    return bool(types.is_integer(found) or (types.is_floating(wanted) and types.is_floating(found)))
