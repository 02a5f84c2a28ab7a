"""The texts of a batch's rows as their files have them, and which candidate each key is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.batches.groups.training_groups import candidates_of
from llm_embedder_data.core.hashing import text_ids
from llm_embedder_data.rows.train_sets import TrainSet

_COLUMNS = ["query", "key", "teacher_scores", "first_same", "n_pos"]


@dataclass(frozen=True, slots=True)
class RowTexts:
    """The texts of one row.

    Attributes:
        query: its text.
        candidates: texts of all its candidates, positives first.
        n_pos: labelled positives.
        ids: ``[n]`` int64, hashes of the candidates.
        scores: ``[n]`` float64, teacher scores as the file has them; NaN without.
    """

    query: str
    candidates: list[str]
    n_pos: int
    ids: NDArray[np.int64]
    scores: NDArray[np.float64]

    def candidate(self, key_id: int) -> int | None:
        """Return the first candidate with the text of a key; None if the row has no such text."""
        found = np.flatnonzero(self.ids == key_id)
        return int(found[0]) if len(found) else None

    def label(self, candidate: int) -> str:
        """Return the candidate's name in the file.

        A row of ``history`` has no labelled positive, so its candidates are neither pos nor neg.
        """
        if not self.n_pos:
            return f"candidate {candidate}"
        is_pos = candidate < self.n_pos
        return f"pos {candidate}" if is_pos else f"neg {candidate - self.n_pos}"


def row_texts(train_set: TrainSet, rows: Sequence[int]) -> list[RowTexts]:
    """Return the texts of some rows, by their row numbers in the dataset."""
    table = train_set.tables(_COLUMNS)[list(rows)]
    candidates = candidates_of(table)
    texts = table.column("key").to_pylist()
    ids = text_ids([text for own in texts for text in own])
    found = []
    for row, (query, own) in enumerate(zip(table.column("query").to_pylist(), texts, strict=True)):
        start = int(candidates.starts[row])
        part = slice(start, start + len(own))
        found.append(
            RowTexts(query, own, int(candidates.n_pos[row]), ids[part], candidates.scores[part])
        )
    return found
