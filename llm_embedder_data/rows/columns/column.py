"""The columns to read from a file: their names, and the kinds of values that they hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import pyarrow as pa

# A record of a file; None for a line that could not be parsed.
Record = Mapping[str, Any] | None

# What is wrong with each row; None for a sound row.
Faults = list[str | None]

# Rows as a file gives them: whole JSON lines, a list of records (a record in bytes is JSON text),
# or a pa.RecordBatch (which mypy takes for Any).
RawRows: TypeAlias = memoryview | list[Any] | Any

# Arrow arrays by name. A column of ids has two arrays, ``<name>_int`` and ``<name>_str``; at most
# one of them has a value in a row. A column of instructions has two arrays as well,
# ``query_<name>`` and ``key_<name>``.
Columns = dict[str, pa.Array]

TEXT = pa.string()
STRINGS = pa.list_(TEXT)
FLOATS = pa.list_(pa.float64())
# From here on, float64 does not hold every integer.
INEXACT_INTEGERS = 2.0**53
INTS = pa.list_(pa.int64())

Kind = Literal["string", "text", "strings", "numbers", "integers", "id", "instruction"]

# The Arrow type of each kind, except for the kinds that have two arrays: see Columns.
ARROW_TYPES: dict[Kind, pa.DataType] = {
    "string": TEXT,
    "text": TEXT,
    "strings": STRINGS,
    "numbers": FLOATS,
    "integers": INTS,
}


@dataclass(frozen=True, slots=True)
class Column:
    """What a field of a record may hold. A missing field is null; null is always allowed.

    Attributes:
        name: the canonical name, used by the rest of the package.
        kind: the kind of its values. A ``text`` is a string, or a number, which becomes its decimal
            text. An ``id`` is a 64-bit integer or a string. An ``instruction`` is a string, which
            is the query's instruction, or an object with the strings ``query`` and ``key``.
        called: the name in the file, if it differs.
        lenient: whether a value of another kind becomes null instead of a fault, for optional
            columns. A lenient column of ``strings`` also accepts a single string, as a list of
            length 1.
    """

    name: str
    kind: Kind
    called: str | None = None
    lenient: bool = False

    @property
    def field(self) -> str:
        """The name in the file."""
        return self.called or self.name


def renamed(columns: Sequence[Column], fields: Mapping[str, str]) -> tuple[Column, ...]:
    """Return the columns with other names in the file.

    Args:
        columns: the columns.
        fields: the name in the file by canonical name, for the columns whose name differs.
    """
    return tuple(replace(column, called=fields.get(column.name)) for column in columns)


def kinds_of(columns: Sequence[Column]) -> dict[str, list[str]]:
    """Return the kinds of values that each field must hold, by name in the file.

    A field has several kinds if several columns are read from it.
    """
    kinds: dict[str, list[str]] = {}
    for column in columns:
        kinds.setdefault(column.field, []).append(column.kind)
    return kinds
