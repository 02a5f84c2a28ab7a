"""The columns that all rows with a query have: training rows and eval rows."""

from __future__ import annotations

import pyarrow as pa

from llm_embedder_data.rows.columns.column import Column, Faults
from llm_embedder_data.rows.schema.checks import add_fault, is_blank

QUERY_FIELDS = [
    ("query", pa.string()),
    ("query_id_int", pa.int64()),  # a row has one of the two, or neither: then its number is its id
    ("query_id_str", pa.string()),
    ("task", pa.string()),
    ("fault", pa.string()),  # null for a sound row
]

QUERY = Column("query", "string")
QUERY_ID = Column("query_id", "id")
TASK = Column("task", "string")

# Candidates: in training rows, and in rows to rerank.
POS = Column("pos", "strings")
NEG = Column("neg", "strings")


def require_query(query: pa.Array, faults: Faults) -> None:
    """Add a fault to each row whose query is missing or blank."""
    missing = query.is_null().to_numpy(zero_copy_only=False)
    add_fault(missing, faults, lambda row: "no query (a row needs a query)")
    add_fault(is_blank(query), faults, lambda row: "query is blank (give it a text)")
