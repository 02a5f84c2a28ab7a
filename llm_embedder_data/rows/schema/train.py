"""Training rows: a query with its candidates, labelled as positives and negatives or scored."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from llm_embedder_data.core.shown_values import shown
from llm_embedder_data.rows.columns.column import FLOATS, STRINGS, Column, Columns, Faults
from llm_embedder_data.rows.passages.passages import Passages
from llm_embedder_data.rows.schema.canonical_rows import LARGEST_SCORE
from llm_embedder_data.rows.schema.checks import ListView, add_fault, is_blank, slice_indices
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
from llm_embedder_data.rows.schema.same_texts import first_same_passages, first_same_texts

TRAIN_COLUMNS = (
    QUERY,
    TASK,
    POS,
    NEG,
    Column("history", "strings"),
    Column("teacher_scores", "numbers"),
    QUERY_ID,
    INSTRUCTION,
)
TRAIN_FIELDS = tuple(column.name for column in TRAIN_COLUMNS)

TRAIN_SCHEMA = pa.schema(
    [
        *QUERY_FIELDS,
        ("key_instruction", pa.string()),  # replaces the recipe's instruction for keys, or null
        ("key", STRINGS),  # the row's candidates, positives first
        ("teacher_scores", FLOATS),  # one per key, or null
        # For each key, the index in the row of the first key with the same text.
        ("first_same", pa.list_(pa.int32())),
        ("n_pos", pa.int32()),
        ("n_neg", pa.int32()),  # negatives whose text differs from every positive's
        ("n_neg_teacher", pa.int32()),  # of these, those that differ from the best-scored key
        ("score_max", pa.float64()),
        ("score_min", pa.float64()),
    ]
)


# As TRAIN_SCHEMA, but ``key`` holds passage numbers in place of texts: see RowKind.of_passages.
PASSAGE_SCHEMA = TRAIN_SCHEMA.set(
    TRAIN_SCHEMA.get_field_index("key"), pa.field("key", pa.list_(pa.int32()))
)
_KEYS = ("pos", "neg", "history")


def train_batch(
    columns: Columns, faults: Faults, passages: Passages | None = None
) -> pa.RecordBatch:
    """Return a batch of :data:`TRAIN_SCHEMA` from the :data:`TRAIN_COLUMNS` of some rows.

    If a row has a ``history``, its turns replace pos and neg: they are candidates without a
    labelled positive.

    Args:
        columns: arrays by name, ``[n_rows]`` each.
        faults: what is wrong with each row so far; faults that are found here are added.
        passages: the passages whose numbers are the candidates; None if candidates are texts.
    """
    require_query(columns["query"], faults)
    candidates = _candidates(columns)
    _check_candidates(candidates, faults, passages)
    scores = columns["teacher_scores"]
    score_max, score_min = _score_range(scores, candidates, faults)

    row_of_key, n_rows = candidates.row_of_key, len(candidates.n_pos)
    if passages is None:
        first_same = first_same_texts(candidates.texts, candidates.offsets, row_of_key)
    else:
        numbers = candidates.texts.to_numpy()
        first_same = first_same_passages(
            passages.first_same(numbers), candidates.offsets, row_of_key
        )
    is_usable = ~candidates.is_positive & (first_same >= candidates.n_pos[row_of_key])
    is_best = _is_best(scores, candidates.n_key, faults)
    best_text = np.full(n_rows, -1)
    best_text[row_of_key[is_best]] = first_same[is_best]
    is_left_by_teacher = is_usable & (first_same != best_text[row_of_key])

    offsets = pa.array(candidates.offsets, pa.int32())
    return batch_of(
        TRAIN_SCHEMA if passages is None else PASSAGE_SCHEMA,
        with_instructions(columns, n_rows),
        faults,
        key=pa.ListArray.from_arrays(
            offsets,
            candidates.texts if passages is None else candidates.texts.cast(pa.int32()),
        ),
        teacher_scores=scores,
        first_same=pa.ListArray.from_arrays(offsets, pa.array(first_same)),
        n_pos=pa.array(candidates.n_pos, pa.int32()),
        n_neg=_keys_per_row(row_of_key[is_usable], n_rows),
        n_neg_teacher=_keys_per_row(row_of_key[is_left_by_teacher], n_rows),
        score_max=score_max,
        score_min=score_min,
    )


def _rows_of_passages(passages: Passages) -> RowKind:
    columns = tuple(
        replace(column, kind="integers") if column.name in _KEYS else column
        for column in TRAIN_COLUMNS
    )
    build = partial(train_batch, passages=passages)
    return RowKind("train on passages", PASSAGE_SCHEMA, build, columns)


TRAIN_ROWS = RowKind(
    "train", TRAIN_SCHEMA, train_batch, TRAIN_COLUMNS, of_passages=_rows_of_passages
)


# --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Candidates:
    """The candidates of some rows, each row's positives first.

    Attributes:
        texts: the candidates of all rows, ``[n_keys]``: strings, or int64 passage numbers.
        offsets: the index of each row's first candidate, then n_keys, ``[n_rows + 1]`` int64.
        row_of_key: ``[n_keys]`` int64.
        n_pos: positives per row, ``[n_rows]`` int64.
        n_neg: negatives per row, ``[n_rows]`` int64.
        is_positive: ``[n_keys]`` bool.
        has_history: whether a row's candidates are its history, ``[n_rows]`` bool.
    """

    texts: pa.Array
    offsets: NDArray[np.int64]
    row_of_key: NDArray[np.int64]
    n_pos: NDArray[np.int64]
    n_neg: NDArray[np.int64]
    is_positive: NDArray[np.bool_]
    has_history: NDArray[np.bool_]

    @property
    def n_key(self) -> NDArray[np.int64]:
        """Candidates per row, ``[n_rows]`` int64."""
        return self.n_pos + self.n_neg


def _candidates(columns: Columns) -> _Candidates:
    """Return the candidates of rows from their columns pos, neg and history."""
    pos, neg = ListView(columns["pos"]), ListView(columns["neg"])
    history = ListView(columns["history"])
    has_history = history.lengths > 0
    n_pos = np.where(has_history, 0, pos.lengths)
    n_neg = np.where(has_history, history.lengths, neg.lengths)

    # Concatenate the values of the three columns. Each row's candidates are then two slices: its
    # positives, and its negatives or history.
    neg_begins, history_begins = len(pos.values), len(pos.values) + len(neg.values)
    starts = np.stack(
        [
            pos.starts,
            np.where(has_history, history_begins + history.starts, neg_begins + neg.starts),
        ],
        axis=1,
    )
    indices = slice_indices(starts.ravel(), np.stack([n_pos, n_neg], axis=1).ravel())
    texts = pa.concat_arrays([pos.values, neg.values, history.values])
    if len(indices) != len(texts) or (indices != np.arange(len(texts))).any():
        texts = texts.take(pa.array(indices))
    n_key = n_pos + n_neg
    offsets = np.concatenate([[0], np.cumsum(n_key)])
    row_of_key = np.repeat(np.arange(len(n_key)), n_key)
    return _Candidates(
        texts=texts,
        offsets=offsets,
        row_of_key=row_of_key,
        n_pos=n_pos,
        n_neg=n_neg,
        is_positive=np.arange(len(texts)) - offsets[row_of_key] < n_pos[row_of_key],
        has_history=has_history,
    )


def _check_candidates(candidates: _Candidates, faults: Faults, passages: Passages | None) -> None:
    """Add a fault to each row without candidates, with a null candidate, or a blank positive."""
    add_fault(
        candidates.n_key == 0,
        faults,
        lambda row: "no pos, neg or history (a row needs candidates)",
    )
    if passages is not None:  # no passage is null or blank
        return
    texts, is_positive = candidates.texts, candidates.is_positive
    is_null = texts.is_null().to_numpy(zero_copy_only=False)
    for key in [*np.flatnonzero(is_null), *np.flatnonzero(is_positive & is_blank(texts))]:
        row = int(candidates.row_of_key[key])
        labelled = "pos" if is_positive[key] else "neg"
        field = "history" if candidates.has_history[row] else labelled
        found = "null" if is_null[key] else "blank text"
        faults[row] = faults[row] or f"{field} holds a {found} (give a text, or take the entry out)"


def _score_range(
    scores: pa.ListArray, candidates: _Candidates, faults: Faults
) -> tuple[pa.Array, pa.Array]:
    """Return each row's highest and lowest score, null without scores; add faults of the scores."""
    view = ListView(scores)
    n_pos, n_neg, n_key = candidates.n_pos, candidates.n_neg, candidates.n_key
    add_fault(
        scores.is_valid().to_numpy(zero_copy_only=False) & (view.lengths != n_key),
        faults,
        lambda row: (
            f"teacher_scores has {view.lengths[row]} values for {n_pos[row]} positives and "
            f"{n_neg[row]} negatives ({n_key[row]} are needed, or leave the field out)"
        ),
    )
    values = view.values.fill_null(np.nan).to_numpy(zero_copy_only=False)
    filled = np.flatnonzero(view.lengths)
    highest, lowest = np.full(len(scores), np.nan), np.full(len(scores), np.nan)
    if len(filled):
        # Null lists have no values, so the values of the filled lists are contiguous.
        highest[filled] = np.maximum.reduceat(values, view.starts[filled])
        lowest[filled] = np.minimum.reduceat(values, view.starts[filled])
    is_sound = (highest <= LARGEST_SCORE) & (lowest >= -LARGEST_SCORE)  # neither is NaN
    add_fault(
        (view.lengths > 0) & ~is_sound,
        faults,
        lambda row: (
            f"teacher_scores={shown(scores[row].as_py())} holds a value that is "
            + (
                f"beyond {LARGEST_SCORE:.2e}, the largest 32-bit float; batches hold scores as "
                "32-bit floats (give smaller scores, or leave the field out)"
                if np.isfinite([highest[row], lowest[row]]).all()
                else "not a finite number (give a finite one, or leave the field out)"
            )
        ),
    )
    return pa.array(highest, mask=~is_sound), pa.array(lowest, mask=~is_sound)


def _is_best(scores: pa.ListArray, n_key: NDArray[np.int64], faults: Faults) -> NDArray[np.bool_]:
    """Return whether each key is the first of its row with the highest score, ``[n_keys]`` bool.

    The result is False for all keys of a row that has no scores, or a fault.
    """
    is_best = np.zeros(int(n_key.sum()), bool)
    view = ListView(scores)
    is_sound = np.array([fault is None for fault in faults], bool)
    scored = np.flatnonzero((view.lengths > 0) & is_sound)
    if not len(scored):
        return is_best
    lengths = view.lengths[scored]  # equal to n_key[scored]: other rows have a fault
    starts = np.cumsum(lengths) - lengths
    values = view.values.to_numpy(zero_copy_only=False)
    values = values[slice_indices(view.starts[scored], lengths)]
    is_highest = np.flatnonzero(values == np.repeat(np.maximum.reduceat(values, starts), lengths))
    first = is_highest[np.searchsorted(is_highest, starts)]
    is_best[(np.cumsum(n_key) - n_key)[scored] + first - starts] = True
    return is_best


def _keys_per_row(rows: NDArray[np.int64], n_rows: int) -> pa.Array:
    return pa.array(np.bincount(rows, minlength=n_rows), pa.int32())
