"""Records of a corpus: the fields of a key template, as strings."""

from __future__ import annotations

import pyarrow as pa

from llm_embedder_data.rows.columns.column import Column, Columns, Faults
from llm_embedder_data.rows.schema.row_kind import RowKind, batch_of


def corpus_column(index: int) -> str:
    """Return the column of a template's field: named by index, so that no field name can clash."""
    return f"field_{index}"


def corpus_rows(n_fields: int) -> RowKind:
    """Return the kind of rows of a corpus whose template has so many fields."""
    return RowKind(
        f"corpus of {n_fields} fields",
        _schema(n_fields),
        corpus_batch,
        tuple(Column(corpus_column(index), "text") for index in range(n_fields)),
    )


def corpus_batch(columns: Columns, faults: Faults) -> pa.RecordBatch:
    """Return a batch from the fields of some records; a missing or null field stays null."""
    return batch_of(_schema(len(columns)), columns, faults)


def _schema(n_fields: int) -> pa.Schema:
    fields = [(corpus_column(index), pa.string()) for index in range(n_fields)]
    return pa.schema([*fields, ("fault", pa.string())])
