"""Rows of a corpus: the fields that a key template needs, as strings."""

from __future__ import annotations

from functools import partial

import pyarrow as pa

from llm_embedder_data.rows.columns.column import Column, Columns, Faults
from llm_embedder_data.rows.schema.row_kind import RowKind, batch_of

# At most one of them has a value for a passage. If neither has, the passage's row number is its id.
ID_COLUMNS = ("id_int", "id_str")


def corpus_column(index: int) -> str:
    """Return the name of the column for a template's field.

    It holds the field's index instead of its name, so that it cannot clash with other columns.
    """
    return f"field_{index}"


def corpus_rows(n_fields: int, *, has_ids: bool = False) -> RowKind:
    """Return the kind of rows of a corpus.

    Args:
        n_fields: the number of fields in the key template.
        has_ids: whether to read the field ``id`` too.
    """
    schema = _schema(n_fields, has_ids)
    columns = [Column(corpus_column(index), "text") for index in range(n_fields)]
    if has_ids:
        columns.append(Column("id", "id"))
    name = f"corpus of {n_fields} fields" + " with ids" * has_ids
    return RowKind(name, schema, partial(corpus_batch, schema), tuple(columns))


def corpus_batch(schema: pa.Schema, columns: Columns, faults: Faults) -> pa.RecordBatch:
    """Return a batch of ``schema`` from the fields of some records; a missing field is null."""
    return batch_of(schema, columns, faults)


def _schema(n_fields: int, has_ids: bool) -> pa.Schema:
    fields = [(corpus_column(index), pa.string()) for index in range(n_fields)]
    ids = [("id_int", pa.int64()), ("id_str", pa.string())] if has_ids else []
    return pa.schema([*fields, *ids, ("fault", pa.string())])
