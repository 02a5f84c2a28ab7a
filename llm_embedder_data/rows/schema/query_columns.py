"""The columns that all rows with a query have: training rows and eval rows."""

from __future__ import annotations

import pyarrow as pa

from llm_embedder_data.rows.columns.column import Column, Columns, Faults
from llm_embedder_data.rows.columns.instructions import instruction_columns
from llm_embedder_data.rows.schema.checks import add_fault, is_blank

QUERY_FIELDS = [
    ("query", pa.string()),
    ("query_instruction", pa.string()),  # replaces the recipe's instruction for this row, or null
    # At most one of them has a value. If neither has, the row's number is the query's id.
    ("query_id_int", pa.int64()),
    ("query_id_str", pa.string()),
    ("task", pa.string()),
    ("fault", pa.string()),  # null for a sound row
]

QUERY = Column("query", "string")
QUERY_ID = Column("query_id", "id")
TASK = Column("task", "string")
INSTRUCTION = Column("instruction", "instruction")

# Candidates, in training rows and in rows to rerank.
POS = Column("pos", "strings")
NEG = Column("neg", "strings")


def with_instructions(columns: Columns, n_rows: int) -> Columns:
    """Return columns with the two arrays of :data:`INSTRUCTION`, null if they were not read."""
    return instruction_columns(None, INSTRUCTION, n_rows) | columns


def require_query(query: pa.Array, faults: Faults) -> None:
    """Add a fault to each row whose query is missing or blank."""
    missing = query.is_null().to_numpy(zero_copy_only=False)
    add_fault(missing, faults, lambda row: "no query (a row needs a query)")
    add_fault(is_blank(query), faults, lambda row: "query is blank (give it a text)")
