"""The columns that we read from a file: their names, and the kinds of values that they hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import pyarrow as pa

# A record of a file; None for a line that could not be parsed.
Record = Mapping[str, Any] | None

# What is wrong with each row; None for a sound one.
Faults = list[str | None]

# Rows as a file gives them: whole JSON lines, a list of records (one in bytes is JSON text), or a
# pa.RecordBatch (which mypy takes for Any).
RawRows: TypeAlias = memoryview | list[Any] | Any

# Arrow columns by name. A column of ids has two arrays, ``<name>_int`` and ``<name>_str``: a row
# has a value in one of them, or in neither. So has a column of instructions: ``query_<name>`` and
# ``key_<name>``.
Columns = dict[str, pa.Array]

TEXT = pa.string()
STRINGS = pa.list_(TEXT)
FLOATS = pa.list_(pa.float64())
INTS = pa.list_(pa.int64())

Kind = Literal["string", "text", "strings", "numbers", "integers", "id", "instruction"]

# The Arrow type of each kind, except those that have two arrays: see Columns.
ARROW_TYPES: dict[Kind, pa.DataType] = {
    "string": TEXT,
    "text": TEXT,
    "strings": STRINGS,
    "numbers": FLOATS,
    "integers": INTS,
}


@dataclass(frozen=True, slots=True)
class Column:
    """What one field of a record may hold. Null and missing mean the same and are always allowed.

    Attributes:
        name: the canonical name, used by the rest of the package.
        kind: the kind of its values. ``text`` is a string or a number, which becomes its decimal
            text; an ``id`` is a 64-bit integer or a string; an ``instruction`` is a string, for the
            query, or an object with the strings ``query`` and ``key``.
        called: its name in the file, if that differs.
        lenient: whether a value of another kind is taken for null, and is no fault; in a list of
            strings, a string alone is a list of one. For columns that a row may do without.
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
    """Return the columns with their names in a file, given those that differ, by canonical name."""
    return tuple(replace(column, called=fields.get(column.name)) for column in columns)


def kinds_of(columns: Sequence[Column]) -> dict[str, list[str]]:
    """Return the kinds of values that each field of a file must hold."""
    kinds: dict[str, list[str]] = {}
    for column in columns:
        kinds.setdefault(column.field, []).append(column.kind)
    return kinds
