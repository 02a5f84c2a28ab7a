"""The texts of training rows that near-duplicates are looked for in: queries and positives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from llm_embedder_data.inspection.doctor.flat_texts import FlatTexts
from llm_embedder_data.inspection.doctor.kept_tables import kept_tables
from llm_embedder_data.inspection.doctor.normal_texts import normal_texts
from llm_embedder_data.inspection.doctor.shingles import shingles
from llm_embedder_data.rows.train_sets import TrainSet

_COLUMNS = ["query", "key", "n_pos"]
_WINDOW = 1 << 20  # bytes of text of which all runs of characters are held at a time


@dataclass(frozen=True, slots=True)
class RowTexts:
    """The normal texts of some rows: of each, its query and its positives.

    Attributes:
        texts: of all rows.
        row: ``[t]`` int64, the place of each text's row; ascending, a row's query first.
        n_rows: in all.
    """

    texts: list[str]
    row: NDArray[np.int64]
    n_rows: int

    def sets(self) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """The runs of characters of each row: hashes, and where each row's begin.

        A query's are even and a positive's odd: if both sides of two rows are alike, the sets are.
        """
        hashes, bounds = shingles(self.texts)
        first = np.searchsorted(self.row, np.arange(self.n_rows + 1))
        is_positive = np.ones(len(self.texts), np.uint64)
        is_positive[first[:-1]] = 0
        side = np.repeat(is_positive, np.diff(bounds))
        return (hashes & ~np.uint64(1)) | side, bounds[first]


def texts_of_rows(
    train_set: TrainSet, rows: NDArray[np.int64] | None = None
) -> Iterator[tuple[NDArray[np.int64], RowTexts]]:
    """Yield row numbers and their texts, about a megabyte at a time.

    Args:
        train_set: that is read.
        rows: ``[n]`` int64, row numbers; None: all that are kept.
    """
    for numbers, table in kept_tables(train_set, _COLUMNS, rows):
        n_pos = table.column("n_pos").to_numpy().astype(np.int64)
        n_keys = pc.list_value_length(table.column("key")).to_numpy().astype(np.int64)
        place = np.arange(n_keys.sum()) - np.repeat(np.cumsum(n_keys) - n_keys, n_keys)
        queries = normal_texts(FlatTexts.of_column(table.column("query")))
        keys = FlatTexts.of_lists(table.column("key")).chosen(place < np.repeat(n_pos, n_keys))
        positives = normal_texts(keys.packed())
        ends = np.cumsum(n_pos)
        sizes = np.cumsum(queries.lengths) + np.append(0, np.cumsum(positives.lengths))[ends]
        cuts = np.flatnonzero(np.diff(sizes // _WINDOW)) + 1
        for own in np.split(np.arange(len(numbers)), cuts):
            texts: list[str] = []
            for at in own.tolist():
                texts.append(queries[at])
                texts += [positives[key] for key in range(ends[at] - n_pos[at], ends[at])]
            row = np.repeat(np.arange(len(own)), 1 + n_pos[own])
            yield numbers[own], RowTexts(texts, row, len(own))
