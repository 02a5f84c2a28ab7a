"""The texts of rows as their files have them, to find which candidate of its row a key is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.batches.groups.training_groups import candidates_of
from llm_embedder_data.core.hashing import text_ids
from llm_embedder_data.rows.train_set import TrainSet

_COLUMNS = ["query", "key", "teacher_scores", "first_same", "n_pos"]


@dataclass(frozen=True, slots=True)
class RowTexts:
    """The texts of a row with n candidates.

    Attributes:
        query: text of the query.
        candidates: texts of all candidates, positives first.
        n_pos: number of labelled positives.
        ids: ``[n]`` int64, hashes of the candidates.
        scores: ``[n]`` float64, teacher scores as in the file; NaN without a score.
    """

    query: str
    candidates: list[str]
    n_pos: int
    ids: NDArray[np.int64]
    scores: NDArray[np.float64]

    def candidate(self, key_id: int) -> int | None:
        """Return the number of the first candidate with a key's text; None if there is none."""
        found = np.flatnonzero(self.ids == key_id)
        return int(found[0]) if len(found) else None

    def label(self, candidate: int) -> str:
        """Return a candidate's name in the file, see :func:`candidate_label`."""
        return candidate_label(candidate, self.n_pos)


def candidate_label(candidate: int, n_pos: int) -> str:
    """Return the name of a candidate in its file: ``pos 0``, ``neg 3`` or ``candidate 1``.

    Args:
        candidate: number of the candidate, from 0, positives first.
        n_pos: number of labelled positives of the row. In a row without labels (``candidates``, or
            LLM-Embedder's ``history``) a candidate is neither pos nor neg.

    >>> [candidate_label(1, n_pos) for n_pos in (2, 1, 0)]
    ['pos 1', 'neg 0', 'candidate 1']
    """
    if not n_pos:
        return f"candidate {candidate}"
    return f"pos {candidate}" if candidate < n_pos else f"neg {candidate - n_pos}"


def row_texts(train_set: TrainSet, rows: Sequence[int]) -> list[RowTexts]:
    """Return the texts of the rows with the given row numbers."""
    table = train_set.tables(_COLUMNS)[list(rows)]
    candidates = candidates_of(table)
    texts = table.column("key").to_pylist()
    ids = text_ids([text for of_row in texts for text in of_row])
    found = []
    queries = table.column("query").to_pylist()
    for row, (query, of_row) in enumerate(zip(queries, texts, strict=True)):
        start = int(candidates.starts[row])
        part = slice(start, start + len(of_row))
        found.append(
            RowTexts(query, of_row, int(candidates.n_pos[row]), ids[part], candidates.scores[part])
        )
    return found
