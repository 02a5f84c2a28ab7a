"""Arrow batches as plain records, nested columns too.

The process that reads tables of strangers imports this module, so it imports nothing of the
package (see :mod:`llm_embedder_data.rows.table_process`).
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import numpy as np
import orjson
import pyarrow as pa


def records_of(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """The rows of a batch as dicts.

    Lists, structs and maps are Python's; dictionary-encoded values are decoded; extension types
    are what they are stored as.
    """
    names = batch.schema.names
    if not names:
        return [{} for _ in range(batch.num_rows)]
    columns = [values_of(array) for array in batch.columns]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def values_of(array: pa.Array) -> list[Any]:
    """The values of an array; None where one is null. Faster than ``to_pylist``."""
    types, found = pa.types, array.type
    if isinstance(array, pa.ExtensionArray):
        return values_of(array.storage)
    if types.is_dictionary(found):
        return values_of(array.dictionary_decode())
    if types.is_string(found) or types.is_large_string(found):
        texts: list[Any] = array.to_numpy(zero_copy_only=False).tolist()
        return texts
    if (types.is_integer(found) or types.is_floating(found)) and not array.null_count:
        numbers: list[Any] = array.to_numpy(zero_copy_only=False).tolist()
        return numbers
    if types.is_list(found) or types.is_large_list(found):
        return _lists(array)
    if types.is_struct(found):
        return _structs(array)
    return [_plain(value) for value in array.to_pylist()]


def json_lines(records: list[dict[str, Any]]) -> bytes:
    """Records as one JSON array. What JSON lacks becomes text, a number or null."""
    return orjson.dumps(records, default=_plain, option=orjson.OPT_NON_STR_KEYS)


def _lists(array: pa.Array) -> list[Any]:
    offsets = array.offsets.to_numpy(zero_copy_only=False).astype(np.int64)
    first = int(offsets[0]) if len(offsets) else 0
    last = int(offsets[-1]) if len(offsets) else 0
    values = values_of(array.values.slice(first, last - first))
    bounds = (offsets - first).tolist()
    lists: list[Any] = [values[start:end] for start, end in pairwise(bounds)]
    return _with_nulls(array, lists)


def _structs(array: pa.StructArray) -> list[Any]:
    names = [array.type.field(number).name for number in range(array.type.num_fields)]
    if not names:
        return _with_nulls(array, [{} for _ in range(len(array))])
    columns = [values_of(child) for child in array.flatten()]
    return _with_nulls(
        array, [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
    )


def _with_nulls(array: pa.Array, values: list[Any]) -> list[Any]:
    if array.null_count:
        for row in np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False)).tolist():
            values[row] = None
    return values


def _plain(value: Any) -> Any:
    """A value of a type that JSON lacks: bytes are text where they are UTF-8, else null."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, bytes | memoryview):
        try:
            return bytes(value).decode()
        except UnicodeDecodeError:
            return None
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    if isinstance(value, dict):
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, timedelta):
        return value.total_seconds()
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
