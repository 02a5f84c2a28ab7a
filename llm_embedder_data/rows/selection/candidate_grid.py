"""Candidates of rows as a grid ``[B, N]``: whom the teacher chooses, and which are negatives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.rows.selection.train_settings import FIRST_ELSE_TEACHER, PositiveInForce


@dataclass(frozen=True, slots=True)
class CandidateGrid:
    """The candidates of B rows, of which the longest has N.

    Attributes:
        exists: ``[B, N]`` bool, false behind the candidates of a shorter row.
        same: ``[B, N]`` int32, for each candidate the first of its row with the same text.
        score: ``[B, N]`` float64, teacher scores; NaN in rows without, and if nothing needs them.
        n_pos: ``[B]`` int64, number of labelled positives, which come first.
        scored: ``[B]`` bool, whether ``score`` has the scores of a row.
    """

    exists: NDArray[np.bool_]
    same: NDArray[np.int32]
    score: NDArray[np.float64]
    n_pos: NDArray[np.int64]
    scored: NDArray[np.bool_]

    def left_to_teacher(self, strategy: PositiveInForce) -> NDArray[np.bool_]:
        """Return whether the teacher chooses the positive of a row, ``[B]``."""
        if strategy in ("first", "random"):
            return np.zeros(len(self.n_pos), bool)
        return self.scored & (self.n_pos == 0) if strategy == FIRST_ELSE_TEACHER else self.scored

    def best_scored(self, strategy: PositiveInForce) -> NDArray[np.int64]:
        """Return the column of the candidate that the teacher prefers, ``[B]``."""
        eligible = self.exists
        if strategy == "teacher-pos":
            eligible = eligible & (np.arange(self.exists.shape[1]) < self.n_pos[:, None])
        best: NDArray[np.int64] = np.argmax(
            np.where(eligible & self.scored[:, None], self.score, -np.inf), axis=1
        )
        return best

    def negatives(self, positive: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which candidates are hard negatives, ``[B, N]``.

        Args:
            positive: ``[B]``, the column of each row's chosen positive.
        """
        of_positive = self.same[np.arange(len(positive)), positive]
        # first_same never exceeds a candidate's own index: from n_pos on, no positive has the text.
        negative: NDArray[np.bool_] = self.exists & (self.same >= self.n_pos[:, None])
        negative &= self.same != of_positive[:, None]
        return negative

    def positive_score(self, strategy: PositiveInForce) -> NDArray[np.float64]:
        """Return the score that margins are measured from, ``[B]``; NaN in rows without scores.

        It is the score of the positive that the teacher chooses. In other rows it is the lowest
        score of a labelled positive.
        """
        labelled = np.arange(self.exists.shape[1]) < self.n_pos[:, None]
        lowest: NDArray[np.float64] = np.where(labelled, self.score, np.inf).min(axis=1)
        by_teacher = self.left_to_teacher(strategy)
        if not by_teacher.any():
            return lowest
        best = self.score[np.arange(len(lowest)), self.best_scored(strategy)]
        return np.where(by_teacher, best, lowest)
