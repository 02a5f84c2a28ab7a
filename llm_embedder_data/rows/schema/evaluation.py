"""Eval rows: queries that search a corpus (retrieve), or that rank their candidates (rerank)."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa

from llm_embedder_data.rows.columns.column import FLOATS, INTS, STRINGS, Column, Columns, Faults
from llm_embedder_data.rows.schema.checks import ListView, add_fault, slice_indices
from llm_embedder_data.rows.schema.query_columns import (
    INSTRUCTION,
    NEG,
    POS,
    QUERY,
    QUERY_FIELDS,
    QUERY_ID,
    TASK,
    require_query,
    with_instructions,
)
from llm_embedder_data.rows.schema.row_kind import RowKind, batch_of

EvalMethod = Literal["retrieve", "rerank"]

_POS_INDEX = Column("pos_index", "integers")
# Texts that answer the query, for the metric that searches passages for answer strings. Lenient,
# because files that do not need this metric may use the field for values of other types.
_ANSWERS = Column("answers", "strings", lenient=True)
_CANDIDATE_COLUMNS = (
    Column("key", "strings"),
    Column("key_index", "integers"),
    POS,
    NEG,
    _POS_INDEX,
    Column("neg_index", "integers"),
)
RETRIEVE_COLUMNS = (QUERY, TASK, _POS_INDEX, QUERY_ID, INSTRUCTION, _ANSWERS)
RERANK_COLUMNS = (QUERY, TASK, *_CANDIDATE_COLUMNS, QUERY_ID, INSTRUCTION)

RETRIEVE_SCHEMA = pa.schema([*QUERY_FIELDS, ("pos_index", INTS), ("answers", STRINGS)])
# ``document`` and ``grade`` hold the ids of judged documents and their grades. They become
# ``pos_index`` when the corpus is known.
RETRIEVE_BY_ID_SCHEMA = pa.schema([*RETRIEVE_SCHEMA, ("document", STRINGS), ("grade", FLOATS)])
RERANK_SCHEMA = pa.schema(
    [
        *QUERY_FIELDS,
        ("pos_index", INTS),
        ("key", STRINGS),
        ("key_index", INTS),
        # True: indices are row numbers of the corpus. False: positions among the row's candidates.
        ("counts_corpus", pa.bool_()),
    ]
)


def eval_rows(eval_method: EvalMethod) -> RowKind:
    """Return the kind of rows that an eval method reads."""
    return RERANK_ROWS if eval_method == "rerank" else RETRIEVE_ROWS


def eval_fields(eval_method: EvalMethod) -> tuple[str, ...]:
    """Return the canonical names of an eval row's fields, which a source may rename."""
    return tuple(column.name for column in eval_rows(eval_method).columns)


def retrieve_batch(columns: Columns, faults: Faults) -> pa.RecordBatch:
    """Return a batch of :data:`RETRIEVE_SCHEMA` from the :data:`RETRIEVE_COLUMNS` of some rows.

    ``pos_index`` holds row numbers of the corpus, from 0.

    Args:
        columns: arrays by name, ``[n_rows]`` each.
        faults: what is wrong with each row so far; faults that are found here are added.
    """
    require_query(columns["query"], faults)
    _check_indices("pos_index", columns, faults)
    return batch_of(RETRIEVE_SCHEMA, with_instructions(columns, len(faults)), faults)


def rerank_batch(columns: Columns, faults: Faults) -> pa.RecordBatch:
    """Return a batch of :data:`RERANK_SCHEMA` from the :data:`RERANK_COLUMNS` of some rows.

    Either ``key`` holds the candidates and ``pos_index`` the indices of the relevant ones; or the
    candidates are ``pos``, which are relevant, followed by ``neg``. The candidates' row numbers in
    the corpus are ``key_index``, or ``pos_index`` followed by ``neg_index``. Without them, the
    candidates of a row are numbered 0, 1, 2, ...

    Args:
        columns: arrays by name, ``[n_rows]`` each.
        faults: what is wrong with each row so far; faults that are found here are added.
    """
    require_query(columns["query"], faults)
    for name in ("pos_index", "key_index", "neg_index"):
        _check_indices(name, columns, faults)
    values = (columns[column.name].to_pylist() for column in _CANDIDATE_COLUMNS)
    rows = [_ranked_row(*row) for row in zip(*values, strict=True)]
    for number, row in enumerate(rows):
        faults[number] = faults[number] or row.fault
    return batch_of(
        RERANK_SCHEMA,
        with_instructions(columns, len(faults)),
        faults,
        pos_index=pa.array([row.pos_index for row in rows], INTS),
        key=pa.array([row.key for row in rows], STRINGS),
        key_index=pa.array([row.key_index for row in rows], INTS),
        counts_corpus=pa.array([row.counts_corpus for row in rows], pa.bool_()),
    )


def retrieve_by_id_batch(columns: Columns, faults: Faults) -> pa.RecordBatch:
    """Return a batch of :data:`RETRIEVE_BY_ID_SCHEMA`; its ``pos_index`` is null.

    Args:
        columns: arrays by name, ``[n_rows]`` each.
        faults: what is wrong with each row so far; faults that are found here are added.
    """
    require_query(columns["query"], faults)
    pos_index = pa.nulls(len(faults), INTS)
    return batch_of(
        RETRIEVE_BY_ID_SCHEMA, with_instructions(columns, len(faults)), faults, pos_index=pos_index
    )


RETRIEVE_BY_ID_ROWS = RowKind(
    "retrieve by id, with answers",
    RETRIEVE_BY_ID_SCHEMA,
    retrieve_by_id_batch,
    (
        *(QUERY, TASK, QUERY_ID, Column("document", "strings"), Column("grade", "numbers")),
        *(INSTRUCTION, _ANSWERS),
    ),
)
RETRIEVE_ROWS = RowKind("retrieve with answers", RETRIEVE_SCHEMA, retrieve_batch, RETRIEVE_COLUMNS)
RERANK_ROWS = RowKind("rerank", RERANK_SCHEMA, rerank_batch, RERANK_COLUMNS)


# --------------------------------------------------------------------------------------------------


class _RankedRow(NamedTuple):
    """What :data:`RERANK_SCHEMA` holds of a row, besides its query."""

    key: list[str]
    key_index: list[int]
    pos_index: list[int] | None
    counts_corpus: bool
    fault: str | None


def _ranked_row(
    key: list[str] | None,
    key_index: list[int] | None,
    pos: list[str] | None,
    neg: list[str] | None,
    pos_index: list[int] | None,
    neg_index: list[int] | None,
) -> _RankedRow:
    candidates = [*(pos or []), *(neg or [])] if key is None else key
    fault = None
    if key is None and key_index is None and pos_index is not None and neg_index is not None:
        key_index = [*pos_index, *neg_index]
        if len(pos_index) != len(pos or []):
            fault = f"{len(pos_index)} pos_index for {len(pos or [])} pos (give one each)"
    counts_corpus = key_index is not None
    if key_index is None:
        key_index = list(range(len(candidates)))
    if not candidates:
        fault = "no candidates (reranking needs key, or pos and neg)"
    elif any(text is None for text in candidates):
        fault = "a candidate is null (give a text, or take the entry out)"
    elif len(key_index) != len(candidates):
        fault = f"{len(key_index)} indices for {len(candidates)} candidates (give one each)"
    elif key is not None and not counts_corpus and max(pos_index or [0]) >= len(candidates):
        fault = (
            f"pos_index holds {max(pos_index or [0])}, and there are {len(candidates)} candidates: "
            "without key_index, it numbers the row's candidates from 0 (give key_index too, if it "
            "counts corpus records)"
        )
    relevant = key_index[: len(pos or [])] if key is None else pos_index
    return _RankedRow(candidates, key_index, relevant, counts_corpus, fault)


def _check_indices(name: str, columns: Columns, faults: Faults) -> None:
    """Add a fault to each row that has a negative index."""
    view = ListView(columns[name])
    indices: Any = view.values.to_numpy(zero_copy_only=False)
    indices = indices[slice_indices(view.starts, view.lengths)]
    lowest = np.zeros(len(faults), np.int64)
    np.minimum.at(lowest, np.repeat(np.arange(len(faults)), view.lengths), indices)
    add_fault(
        lowest < 0,
        faults,
        lambda row: f"{name} holds {lowest[row]} (an index counts records from 0)",
    )
