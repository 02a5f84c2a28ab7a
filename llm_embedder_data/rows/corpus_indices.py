"""Finds eval rows with indices of passages that their corpus does not have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.rows.corpora import Corpus
from llm_embedder_data.rows.eval_sets import EvalSet
from llm_embedder_data.rows.faults.row_errors import require_rows
from llm_embedder_data.rows.joined_ids import joined_to, names_documents
from llm_embedder_data.rows.settings.reading_settings import ReadingSettings
from llm_embedder_data.rows.source_rows.row_numbers import numbers_where


def within_corpus(eval_set: EvalSet, corpus: Corpus, reading: ReadingSettings) -> EvalSet:
    """Return an eval set without the rows that have the index of a passage outside the corpus.

    Such a passage can never be retrieved, so it would lower recall and nDCG unnoticed. If rows name
    documents by id, the ids are replaced by indices: see
    :func:`~llm_embedder_data.rows.joined_ids.joined_to`.

    Args:
        eval_set: its ``pos_index``, and its ``key_index`` if there is one, are row numbers of the
            corpus.
        corpus: the passages.
        reading: whether such a row is an error, or is skipped and counted.

    Raises:
        DataError: there are such rows and they are not skipped, or no row is left.
    """
    if names_documents(eval_set):
        return joined_to(eval_set, corpus, reading)
    kept = np.zeros(len(eval_set.rows), bool)
    kept[eval_set.kept] = True
    bad = np.zeros(len(eval_set.rows), bool)
    first: _UnknownIndex | None = None
    for unknown in _unknown_indices(eval_set, corpus):
        is_kept = kept[unknown.rows]
        if is_kept.any():
            bad[unknown.rows[is_kept]] = True
            found = unknown.at(int(is_kept.argmax()))
            first = found if first is None or found.row < first.row else first
    if first is None:
        return eval_set
    n_bad = int(bad.sum())
    error = _error(eval_set, corpus, first)
    if reading.on_bad_row == "raise":
        raise error.reworded(
            f"{error}; in {n_bad} rows (correct the index, or give the corpus that it counts; "
            "data.on_bad_row=skip skips and counts such rows)"
        )
    left = replace(
        eval_set,
        kept=numbers_where(kept & ~bad, reading.cache_folder),
        dropped={**eval_set.dropped, "bad_row": eval_set.dropped.get("bad_row", 0) + n_bad},
        dropped_rows={
            **eval_set.dropped_rows,
            "bad_row": np.union1d(
                eval_set.dropped_rows.get("bad_row", np.zeros(0, np.int64)), np.flatnonzero(bad)
            ),
        },
        notes=(
            *eval_set.notes,
            f"{n_bad} rows that name passages which the corpus does not have were skipped, the "
            f"first: {error}",
        ),
    )
    require_rows(left)
    return left


# --------------------------------------------------------------------------------------------------


class _UnknownIndex(NamedTuple):
    """An index in a row that is not the index of a passage."""

    row: int
    field: str
    passage: int


class _UnknownIndices(NamedTuple):
    """Indices in some rows that are not indices of passages, ``[n]`` int64 each."""

    field: str
    rows: NDArray[np.int64]
    indices: NDArray[np.int64]

    def at(self, position: int) -> _UnknownIndex:
        return _UnknownIndex(int(self.rows[position]), self.field, int(self.indices[position]))


def _error(eval_set: EvalSet, corpus: Corpus, found: _UnknownIndex) -> DataError:
    n_records = len(corpus.rows)
    why = (
        f"a record of corpus {corpus.name!r} that was skipped as bad"
        if 0 <= found.passage < n_records
        else f"and corpus {corpus.name!r} has {n_records} records, counted from 0"
    )
    return eval_set.error(found.row, f"{found.field} holds {found.passage}, {why}")


def _unknown_indices(eval_set: EvalSet, corpus: Corpus) -> Iterator[_UnknownIndices]:
    """Yield the indices that are not indices of passages, batch by batch."""
    n_records = len(corpus.rows)
    is_passage = np.zeros(n_records, bool)
    is_passage[corpus.kept] = True
    names = [name for name in ("pos_index", "key_index") if name in eval_set.rows.column_names]
    has_counts_corpus = "counts_corpus" in eval_set.rows.column_names
    end = 0
    for batch in eval_set.rows.data.table.to_batches():
        start, end = end, end + len(batch)
        for name in names:
            lists: pa.ListArray = batch.column(name)
            indices = lists.flatten().to_numpy()
            lengths = pc.list_value_length(lists).fill_null(0).to_numpy(zero_copy_only=False)
            rows = np.repeat(np.arange(len(batch)), lengths)
            unknown = (indices < 0) | (indices >= n_records)
            unknown |= ~is_passage[np.where(unknown, 0, indices)] if n_records else True
            if has_counts_corpus:
                counts_corpus = batch.column("counts_corpus").to_numpy(zero_copy_only=False)
                unknown &= counts_corpus[rows]
            if unknown.any():
                yield _UnknownIndices(name, start + rows[unknown], indices[unknown])
