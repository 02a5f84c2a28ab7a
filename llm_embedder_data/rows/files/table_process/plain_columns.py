"""Converts columns of any type to columns of plain types, and checks their values.

Plain types are strings, integers, floats, lists of these, structs of strings for instructions, and
null for a column without values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llm_embedder_data.rows.files.table_process.class_columns import class_names_of, features_in
from llm_embedder_data.rows.files.table_process.table_messages import Unreadable

# The kinds of values that each wanted column must hold, by the column's name in the file.
Kinds = Mapping[str, Sequence[str]]

# What each kind asks of the type of a table's column, in the words of Arrow.
_NEEDED_TYPE = {
    "string": "a string",
    "text": "a string or a number",
    "strings": "a list of strings",
    "numbers": "a list of numbers",
    "integers": "a list of integers",
    "id": "an integer or a string",
    "instruction": "a string, or a struct with the strings query and key",
}

_TEXTS = {"string", "text", "strings", "instruction"}

# The fields of an instruction's struct.
_SIDES = ("query", "key")


def checked(batch: pa.RecordBatch, kinds: Kinds) -> pa.RecordBatch:
    """Return a batch after checking that its columns are valid and have types of their kinds.

    Extension types become their storage types, and decimals become numbers. Numbers of named
    classes become the names where texts are needed. A column without values becomes null.

    Raises:
        Unreadable: a column holds an invalid value, or its type is not allowed.
    """
    batch.validate()
    arrays, features = [], features_in(batch.schema)
    for name, array in zip(batch.schema.names, batch.columns, strict=True):
        validate(name, array)
        if isinstance(array, pa.ExtensionArray):
            array = array.storage
        array = without_decimals(array)
        if _TEXTS.issuperset(kinds[name]):
            array = class_names_of(array, features.get(name))
        if array.null_count == len(array):
            array = pa.nulls(len(array))
        unmet = [kind for kind in kinds[name] if not _allows(kind, array.type)]
        if unmet:
            found = str(array.type)
            found = found if len(found) <= 80 else f"{found[:77]}..."
            raise Unreadable(
                f"the column {name!r} is of type {found} ({_NEEDED_TYPE[unmet[0]]} is needed: "
                "convert the column, or give the field another column by its name)"
            )
        arrays.append(array)
    return with_columns(batch, arrays)


def plain(array: pa.Array) -> pa.Array:
    """Return an array in a plain type, with contiguous lists and empty null lists.

    Types are converted here if the casts of pyarrow 26 would convert the whole array that ``array``
    is a slice of, or return a wrong result.
    """
    types, found = pa.types, array.type
    if types.is_dictionary(found):
        return plain(array.dictionary_decode())
    if types.is_list(found) or types.is_large_list(found) or is_fixed_list(found):
        offsets = pa.array(np.append(0, np.cumsum(lengths(array))), pa.int32())
        return pa.ListArray.from_arrays(offsets, plain(array.flatten()), mask=array.is_null())
    if types.is_struct(found):
        return pa.StructArray.from_arrays(list(map(plain, sides(array))), list(_SIDES))
    if types.is_large_string(found):
        return array.take(pa.array(np.arange(len(array)))).cast(pa.string())
    if is_string_view(found):
        return array.cast(pa.string())
    return array


def readable(array: pa.Array) -> pa.Array:
    """Return a column of bytes as texts if it is UTF-8, and one of decimals as numbers.

    Some writers have no type for strings, and others, such as DuckDB, write literals as decimals.
    """
    if pa.types.is_binary(array.type) or pa.types.is_large_binary(array.type):
        with suppress(pa.ArrowException):
            large = pa.types.is_large_binary(array.type)
            return array.cast(pa.large_string() if large else pa.string())
    return without_decimals(array)


def without_decimals(array: pa.Array) -> pa.Array:
    """Return decimals, or lists of them, as floats; as integers if they have no fraction."""
    types, found = pa.types, array.type
    is_list = types.is_list(found) or types.is_large_list(found)
    item = found.value_type if is_list else found
    if not types.is_decimal(item):
        return array
    number = pa.int64() if item.scale == 0 and item.precision <= 18 else pa.float64()
    if is_list:
        return array.cast(pa.large_list(number) if types.is_large_list(found) else pa.list_(number))
    return array.cast(number)


def validate(name: str, array: pa.Array) -> None:
    """Check that a column holds no invalid value.

    Raises:
        Unreadable: it holds one.
    """
    try:
        array.validate(full=True)
    except (pa.ArrowException, ValueError) as error:
        raise Unreadable(
            f"the column {name!r} holds values that are invalid: {error} (a string is UTF-8; "
            "write the file again)"
        ) from error


def with_columns(batch: pa.RecordBatch, arrays: Sequence[pa.Array]) -> pa.RecordBatch:
    """Return a batch with other arrays; a batch without columns keeps its number of rows."""
    if not arrays:
        return batch
    schema = batch.schema
    return pa.RecordBatch.from_arrays(list(arrays), names=schema.names, metadata=schema.metadata)


def sides(array: pa.StructArray) -> list[pa.Array]:
    """Return the fields ``query`` and ``key`` of structs; a missing field is null."""
    found = [field.name for field in array.type]
    return [
        pc.struct_field(array, side) if side in found else pa.nulls(len(array)) for side in _SIDES
    ]


def lengths(lists: pa.Array) -> NDArray[np.int64]:
    """Return the length of each list, 0 for null, ``[n]`` int64."""
    found = pc.list_value_length(lists).fill_null(0).to_numpy(zero_copy_only=False)
    counts: NDArray[np.int64] = found.astype(np.int64)
    return counts


def is_fixed_list(found: pa.DataType) -> bool:
    """Return whether a type is a fixed-size list."""
    return bool(pa.types.is_fixed_size_list(found))


def is_string_view(found: pa.DataType) -> bool:
    """Return whether a type is a string view."""
    return bool(pa.types.is_string_view(found))


# --------------------------------------------------------------------------------------------------


def _allows(kind: str, found: pa.DataType) -> bool:
    """Return whether values of a type can be read as values of a kind."""
    types = pa.types
    if types.is_null(found):
        return True
    if kind in ("strings", "numbers", "integers"):
        if not (types.is_list(found) or types.is_large_list(found) or is_fixed_list(found)):
            return False
        found = found.value_type
        if types.is_null(found):
            return True
    if kind == "instruction" and types.is_struct(found):
        return all(field.name in _SIDES and _allows("string", field.type) for field in found)
    if types.is_dictionary(found):
        found = found.value_type
    is_text = types.is_string(found) or types.is_large_string(found) or is_string_view(found)
    is_int, is_float = types.is_integer(found), types.is_floating(found)
    return bool(
        {
            "string": is_text,
            "instruction": is_text,
            "strings": is_text,
            "text": is_text or is_int or is_float,
            "id": is_text or is_int or is_float,  # floats of pandas; the values are checked
            "numbers": is_int or is_float,
            "integers": is_int,
        }[kind]
    )
