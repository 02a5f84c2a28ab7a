"""Candidates of rows as a grid ``[B, N]``: which the teacher chooses, and which are negatives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.rows.selection.train_settings import FIRST_ELSE_TEACHER, PositiveInForce


@dataclass(frozen=True, slots=True)
class CandidateGrid:
    """The candidates of B rows; the row with most candidates has N.

    Attributes:
        exists: ``[B, N]`` bool, False after the last candidate of a row.
        same: ``[B, N]`` int32, for each candidate the column of the first candidate of the row with
            the same text.
        score: ``[B, N]`` float64, teacher scores; NaN for rows without scores, and for all rows if
            no setting needs scores.
        n_pos: ``[B]`` int64, the number of labelled positives, which come first.
        scored: ``[B]`` bool, whether ``score`` has the scores of a row.
    """

    exists: NDArray[np.bool_]
    same: NDArray[np.int32]
    score: NDArray[np.float64]
    n_pos: NDArray[np.int64]
    scored: NDArray[np.bool_]

    def left_to_teacher(self, strategy: PositiveInForce) -> NDArray[np.bool_]:
        """Return whether the teacher chooses the positive of each row, ``[B]`` bool."""
        if strategy in ("first", "random"):
            return np.zeros(len(self.n_pos), bool)
        return self.scored & (self.n_pos == 0) if strategy == FIRST_ELSE_TEACHER else self.scored

    def best_scored(self, strategy: PositiveInForce) -> NDArray[np.int64]:
        """Return the column of the candidate that the teacher prefers, ``[B]`` int64.

        With the strategy ``teacher-pos``, it is a labelled positive. For rows without scores, the
        result is 0.
        """
        eligible = self.exists
        if strategy == "teacher-pos":
            eligible = eligible & (np.arange(self.exists.shape[1]) < self.n_pos[:, None])
        best: NDArray[np.int64] = np.argmax(
            np.where(eligible & self.scored[:, None], self.score, -np.inf), axis=1
        )
        return best

    def negatives(self, positive: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which candidates are hard negatives, ``[B, N]`` bool.

        Args:
            positive: the column of each row's chosen positive, ``[B]`` int64.
        """
        of_positive = self.same[np.arange(len(positive)), positive]
        # If the first candidate with the same text is not a positive, no positive has this text.
        negative: NDArray[np.bool_] = self.exists & (self.same >= self.n_pos[:, None])
        negative &= self.same != of_positive[:, None]
        return negative

    def positive_score(self, strategy: PositiveInForce) -> NDArray[np.float64]:
        """Return the score that margins refer to, ``[B]`` float64; NaN for rows without scores.

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
