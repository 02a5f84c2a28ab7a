"""Limits which negatives of a row may be chosen: by rank, score, and distance to the positive."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.core.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class NegativePolicy:
    """Limits on hard negatives; None for no limit. sentence-transformers' miner has the same names.

    Below, p is the lowest score of a labelled positive of the row; or the score of the positive, if
    the teacher chooses it. In rows without scores, only the limits on ranks apply, and negatives
    are ranked in the order of the file.

    Attributes:
        range_min: leave out this many of the highest-ranked negatives.
        range_max: leave out negatives from this rank on, counted from 0.
        min_score: leave out negatives with a lower score.
        max_score: leave out negatives with a higher score, as false negatives.
        absolute_margin: leave out negatives with a score above p - margin, as false negatives.
        relative_margin: leave out negatives with a score above p - margin * abs(p), as false
            negatives. (p * (1 - margin) would be wrong for negative scores, such as
            log-likelihoods.)

    Raises:
        ConfigError: a limit has a value that is not allowed, or ``range_min`` and ``range_max``
            leave no negative.
    """

    range_min: int | None = None
    range_max: int | None = None
    min_score: float | None = None
    max_score: float | None = None
    absolute_margin: float | None = None
    relative_margin: float | None = None

    def __post_init__(self) -> None:
        for name in ("range_min", "range_max"):
            value = getattr(self, name)
            is_whole = isinstance(value, int) and not isinstance(value, bool)
            if value is not None and not (is_whole and value >= 0):
                raise ConfigError(f"{name}={value!r}: expected an integer of at least 0, or null")
        for name in ("min_score", "max_score", "absolute_margin", "relative_margin"):
            value = getattr(self, name)
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if value is not None and not (is_number and math.isfinite(value)):
                raise ConfigError(f"{name}={value!r}: expected a finite number, or null")
        if None not in (self.range_min, self.range_max) and self.range_max <= self.range_min:  # type: ignore[operator]
            raise ConfigError(
                f"range_max={self.range_max} leaves no negative from range_min={self.range_min} on "
                "(give a higher range_max)"
            )

    @property
    def is_empty(self) -> bool:
        """Whether there is no limit."""
        return all(getattr(self, field.name) is None for field in fields(self))

    def judge(
        self,
        scores: NDArray[np.float64],
        is_negative: NDArray[np.bool_],
        lowest_positive: NDArray[np.float64],
        same: NDArray[np.int32] | None = None,
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Apply the limits to the negatives of some rows.

        Args:
            scores: the scores of each row's candidates, ``[B, N]`` float64; NaN for rows without
                scores.
            is_negative: ``[B, N]`` bool.
            lowest_positive: p of each row, ``[B]`` float64; NaN for rows without scores.
            same: for each candidate, the column of the row's first candidate with the same text,
                ``[B, N]`` int32. If a candidate is a false negative, so are all with its text.
                None: no text repeats.

        Returns:
            Two arrays, ``[B, N]`` bool: the negatives that stay; and the false negatives, whose
            scores are too high.
        """
        stays = is_negative.copy()
        if self.range_min is not None or self.range_max is not None:
            rank = ranks(scores, is_negative)
            stays &= rank >= (self.range_min or 0)
            if self.range_max is not None:
                stays &= rank < self.range_max
        p = lowest_positive[:, None]
        # Comparisons with NaN are False, so limits on scores leave out nothing in unscored rows.
        if self.min_score is not None:
            stays &= ~(scores < self.min_score)
        is_false = np.zeros_like(is_negative)
        if self.max_score is not None:
            is_false |= scores > self.max_score
        with np.errstate(over="ignore", invalid="ignore"):  # a bound may be infinite
            if self.absolute_margin is not None:
                is_false |= scores > p - self.absolute_margin
            if self.relative_margin is not None:
                is_false |= scores > p - self.relative_margin * np.abs(p)
        is_false &= is_negative
        if same is not None:
            is_false = _with_same_texts(is_false, same) & is_negative
        return stays & ~is_false, is_false


def _with_same_texts(chosen: NDArray[np.bool_], same: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return ``chosen``, and all other candidates of a row with the text of a chosen one."""
    row, column = np.nonzero(chosen)
    first = np.zeros_like(chosen)
    first[row, same[row, column]] = True
    return np.take_along_axis(first, same.astype(np.int64), axis=1)


def ranks(scores: NDArray[np.float64], is_negative: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Rank the negatives of each row, the highest score first; ties keep the order of the file.

    Args:
        scores: ``[B, N]`` float64; rows of NaN are ranked in the order of the file.
        is_negative: ``[B, N]`` bool.

    Returns:
        Ranks from 0, ``[B, N]`` int64; other candidates come after all negatives.
    """
    falling = np.where(np.isnan(scores), 0.0, -scores)
    order = np.argsort(np.where(is_negative, falling, np.inf), axis=1, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(scores.shape[1])[None], axis=1)
    return rank
