"""Indices of eval rows against the corpus that they count."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llm_embedder_data.rows.builders import Corpus, EvalSet, OnBadRow, require_rows
from llm_embedder_data.rows.readers import default_cache_dir
from llm_embedder_data.rows.row_numbers import numbers_where


class _Unknown(NamedTuple):
    """Indices of some rows that no passage has."""

    field: str
    rows: NDArray[np.int64]
    indices: NDArray[np.int64]


def within_corpus(
    eval_set: EvalSet,
    corpus: Corpus,
    *,
    on_bad_row: OnBadRow = "raise",
    cache_dir: Path | None = None,
) -> EvalSet:
    """The eval set without the rows that name a passage which the corpus has not.

    Such a passage can never be retrieved, so that recall and nDCG would be too low without a word.

    Args:
        eval_set: whose ``pos_index``, and ``key_index`` where it was given, count the corpus.
        corpus: the passages.
        on_bad_row: raise, or skip and count, such a row.
        cache_dir: of the numbers of the rows that stay; None for the default one.

    Raises:
        DataError: the first such row, and how many there are; or no row left.
    """
    bad = np.zeros(len(eval_set.rows), bool)
    kept = bad.copy()
    kept[eval_set.kept] = True
    first: tuple[int, str, int] | None = None
    for unknown in _unknown(eval_set, corpus):
        own = kept[unknown.rows]
        if own.any():
            bad[unknown.rows[own]] = True
            place = int(own.argmax())
            named = int(unknown.rows[place]), unknown.field, int(unknown.indices[place])
            first = min(first or named, named, key=lambda one: one[0])
    if first is None:
        return eval_set
    row, field, index = first
    n_records, n_bad = len(corpus.rows), int(bad.sum())
    why = (
        f"a record of corpus {corpus.name!r} that was skipped as bad"
        if 0 <= index < n_records
        else f"and corpus {corpus.name!r} has {n_records} records, counted from 0"
    )
    error = eval_set.error(row, f"{field} holds {index}, {why}")
    if on_bad_row == "raise":
        sentence = (
            f"{error}; so in {n_bad} rows (mend the index, or give the corpus that it counts; "
            "data.on_bad_row=skip skips and counts such rows)"
        )
        raised = type(error)(sentence)
        raised.path, raised.row = error.path, error.row
        raise raised
    left = replace(
        eval_set,
        kept=numbers_where(kept & ~bad, cache_dir or default_cache_dir()),
        dropped={**eval_set.dropped, "bad_row": eval_set.dropped.get("bad_row", 0) + n_bad},
        notes=(
            *eval_set.notes,
            f"{n_bad} rows that name passages which the corpus has not were skipped, the first: "
            f"{error}",
        ),
    )
    require_rows(left)
    return left


def _unknown(eval_set: EvalSet, corpus: Corpus) -> Iterator[_Unknown]:
    """The indices that no passage has, some thousand rows at a time."""
    n_records = len(corpus.rows)
    passage = np.zeros(n_records, bool)
    passage[corpus.kept] = True
    names = [name for name in ("pos_index", "key_index") if name in eval_set.rows.column_names]
    counts_corpus = "counts_corpus" in eval_set.rows.column_names
    end = 0
    for batch in eval_set.rows.data.table.to_batches():
        start, end = end, end + len(batch)
        for name in names:
            lists: pa.ListArray = batch.column(name)
            indices = lists.flatten().to_numpy()
            lengths = pc.list_value_length(lists).fill_null(0).to_numpy(zero_copy_only=False)
            rows = np.repeat(np.arange(len(batch)), lengths)
            unknown = (indices < 0) | (indices >= n_records)
            unknown |= ~passage[np.where(unknown, 0, indices)] if n_records else True
            if counts_corpus:
                said = batch.column("counts_corpus").to_numpy(zero_copy_only=False)
                unknown &= said[rows]
            if unknown.any():
                yield _Unknown(name, start + rows[unknown], indices[unknown])
