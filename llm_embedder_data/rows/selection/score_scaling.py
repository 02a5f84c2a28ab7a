"""Scales the teacher scores of a dataset, for the setting ``normalize_scores``."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import datasets
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from llm_embedder_data.config.recipes import NormalizeScores


@dataclass(frozen=True, slots=True)
class ScoreScaling:
    """A linear map for all teacher scores of a dataset: ``(score - shift) / scale``.

    The scale is above 0, so the order of scores does not change.
    """

    shift: float
    scale: float

    def __call__(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return scaled scores, of any shape; NaN stays NaN."""
        return (scores - self.shift) / self.scale


def score_scaling(
    method: NormalizeScores, rows: datasets.Dataset, kept: NDArray[np.bool_]
) -> ScoreScaling | None:
    """Return the scaling of the teacher scores of kept rows; None if all scores are equal.

    ``minmax`` maps the lowest score to 0 and the highest to 1. ``zscore`` maps scores to mean 0 and
    standard deviation 1. Rows without scores do not count.

    Args:
        method: ``minmax`` or ``zscore``.
        rows: a dataset with columns of ``TRAIN_SCHEMA``.
        kept: whether each row is kept, ``[n]`` bool.
    """
    lowest, highest, n_scores = math.inf, -math.inf, 0
    for scores in _scores_by_block(rows, kept):
        lowest, highest = min(lowest, float(scores.min())), max(highest, float(scores.max()))
        n_scores += len(scores)
    scaling = ScoreScaling(lowest, highest - lowest)
    if method == "zscore" and n_scores:
        # Subtract the lowest score first, so that large scores do not lose digits.
        total = math.fsum(float((scores - lowest).sum()) for scores in _scores_by_block(rows, kept))
        mean = total / n_scores
        squares = math.fsum(
            float(np.square(scores - lowest - mean).sum())
            for scores in _scores_by_block(rows, kept)
        )
        scaling = ScoreScaling(lowest + mean, math.sqrt(squares / n_scores))
    return scaling if 0 < scaling.scale < math.inf else None


def _scores_by_block(
    rows: datasets.Dataset, kept: NDArray[np.bool_]
) -> Iterator[NDArray[np.float64]]:
    """Yield the scores of kept rows, chunk by chunk, ``[n_scores]`` float64."""
    end = 0
    for lists in rows.data.column("teacher_scores").chunks:
        start, end = end, end + len(lists)
        scores = lists.filter(pa.array(kept[start:end])).flatten()
        if len(scores):
            yield scores.to_numpy(zero_copy_only=False)
