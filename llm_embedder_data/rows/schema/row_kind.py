"""A kind of rows: how the columns of a file become the canonical columns of a dataset."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from llm_embedder_data.rows.columns.column import Column, Columns, Faults, renamed
from llm_embedder_data.rows.passages.passages import Passages


@dataclass(frozen=True, slots=True)
class RowKind:
    """A kind of rows, such as training rows.

    Attributes:
        name: part of the cache file's name. Kinds that write different rows have different names.
        schema: the canonical columns. One of them is ``fault``: what is wrong with the row, or
            null. A bad row keeps its position, so that a row's number is its record's number in the
            file.
        build: makes a batch of ``schema`` from the ``columns`` of some rows, and the faults found
            in them so far.
        columns: the columns to read from a file. Its other columns are ignored.
        fields: (canonical name, name in the file) of each column that has another name in the file.
        of_passages: returns the kind for the same rows with passage numbers as keys; None if keys
            cannot be passage numbers.
    """

    name: str
    schema: pa.Schema
    build: Callable[[Columns, Faults], pa.RecordBatch]
    columns: tuple[Column, ...]
    fields: tuple[tuple[str, str], ...] = ()
    of_passages: Callable[[Passages], RowKind] | None = None

    @property
    def file_columns(self) -> tuple[Column, ...]:
        """The columns with their names in the file."""
        return renamed(self.columns, dict(self.fields))


def batch_of(
    schema: pa.Schema, columns: Columns, faults: Faults, **more: pa.Array
) -> pa.RecordBatch:
    """Return a batch of a schema from arrays by name; ``more`` adds or replaces columns."""
    arrays = {**columns, "fault": pa.array(faults, pa.string()), **more}
    return pa.RecordBatch.from_arrays([arrays[name] for name in schema.names], schema=schema)
