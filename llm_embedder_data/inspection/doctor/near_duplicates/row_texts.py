"""The texts of training rows that are searched for near-duplicates: queries and positives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from llm_embedder_data.inspection.doctor.near_duplicates.shingles import shingles
from llm_embedder_data.inspection.doctor.texts.flat_texts import FlatTexts
from llm_embedder_data.inspection.doctor.texts.kept_rows import tables_of_rows
from llm_embedder_data.inspection.doctor.texts.normal_texts import normal_texts
from llm_embedder_data.rows.train_set import TrainSet

_COLUMNS = ["query", "key", "n_pos"]
_BLOCK_BYTES = 1 << 20  # of text in a block: its shingles take many times as much memory


@dataclass(frozen=True, slots=True)
class RowTexts:
    """The texts of some rows in normal form: for each row its query, then its positives.

    Attributes:
        texts: the t texts of all rows, row after row.
        row: ``[t]`` int64, number of each text's row among these rows, from 0; ascending.
        n_rows: number of rows, n.
    """

    texts: list[str]
    row: NDArray[np.int64]
    n_rows: int

    def shingle_sets(self) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """Return a set of shingles for each row, with those of its query and of its positives.

        Hashes of a query's shingles are made even, and hashes of a positive's shingles odd. So the
        two stay distinct, and two rows have similar sets only if their queries and their positives
        are similar.

        Returns:
            ``[s]`` uint64, the members of all sets, set after set; and ``[n+1]`` int64, where the
            members of each set begin.
        """
        hashes, bounds = shingles(self.texts)
        first_text = np.searchsorted(self.row, np.arange(self.n_rows + 1))
        is_positive = np.ones(len(self.texts), np.uint64)
        is_positive[first_text[:-1]] = 0
        last_bit = np.repeat(is_positive, np.diff(bounds))
        return (hashes & ~np.uint64(1)) | last_bit, bounds[first_text]


def is_of_positive(shingle_set: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Return whether each member of a row's set of shingles is from a positive, ``[s]`` bool."""
    odd: NDArray[np.bool_] = (shingle_set & np.uint64(1)) == 1
    return odd


def texts_of_rows(
    train_set: TrainSet, rows: NDArray[np.int64] | None = None
) -> Iterator[tuple[NDArray[np.int64], RowTexts]]:
    """Yield (row numbers, texts of these rows) in blocks of about a megabyte.

    Args:
        train_set: the training set to read.
        rows: ``[n]`` int64, numbers of the rows to read; None: all kept rows.
    """
    for numbers, table in tables_of_rows(train_set, _COLUMNS, rows):
        n_pos = table.column("n_pos").to_numpy().astype(np.int64)
        n_keys = pc.list_value_length(table.column("key")).to_numpy().astype(np.int64)
        number_in_row = np.arange(n_keys.sum()) - np.repeat(np.cumsum(n_keys) - n_keys, n_keys)
        is_positive = number_in_row < np.repeat(n_pos, n_keys)
        queries = normal_texts(FlatTexts.of_column(table.column("query")))
        keys = FlatTexts.of_lists(table.column("key"))
        positives = normal_texts(keys.chosen(is_positive).packed())
        ends = np.cumsum(n_pos)  # of each row's positives
        n_bytes = np.cumsum(queries.lengths) + np.append(0, np.cumsum(positives.lengths))[ends]
        block_starts = np.flatnonzero(np.diff(n_bytes // _BLOCK_BYTES)) + 1
        for block in np.split(np.arange(len(numbers)), block_starts):
            texts: list[str] = []
            for row in block.tolist():
                texts.append(queries[row])
                texts += [positives[number] for number in range(ends[row] - n_pos[row], ends[row])]
            row_of_text = np.repeat(np.arange(len(block)), 1 + n_pos[block])
            yield numbers[block], RowTexts(texts, row_of_text, len(block))
