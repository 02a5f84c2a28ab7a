"""Which negatives of a row may be chosen at all: by rank, by score, by distance to the positive."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.core.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class NegativePolicy:
    """Limits on hard negatives; None for no limit. The names are sentence-transformers' miner's.

    Let p be the lowest score of a labelled positive of the row; if the teacher chooses the
    positive, p is the score of the chosen one. Rows without scores know ranks alone, in the order
    of the file.

    Attributes:
        range_min: leave out so many of the highest-ranked negatives.
        range_max: leave out the negatives from this rank on, counted from 0.
        min_score: leave out negatives with a lower score.
        max_score: leave out negatives with a higher score, as false negatives.
        absolute_margin: leave out, as false negatives, those with a score above p - margin.
        relative_margin: leave out, as false negatives, those with a score above p - margin * |p|.
            (p * (1 - margin) would be wrong for log-likelihoods, which are negative.)
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
        """Tell the negatives that stay from those that go.

        Args:
            scores: ``[B, N]`` float64 of the candidates of each row; NaN in rows without scores.
            is_negative: ``[B, N]`` bool.
            lowest_positive: ``[B]`` float64, p of each row; NaN where a row has none.
            same: ``[B, N]``, for each candidate the first of its row with the same text. A text
                that is taken for a positive once goes wherever it stands. None: no text repeats.

        Returns:
            two arrays, ``[B, N]`` bool: the negatives that stay; and those that are taken for
            positives by their score.
        """
        stays = is_negative.copy()
        if self.range_min is not None or self.range_max is not None:
            rank = ranks(scores, is_negative)
            stays &= rank >= (self.range_min or 0)
            if self.range_max is not None:
                stays &= rank < self.range_max
        p = lowest_positive[:, None]
        # Comparisons with NaN are false: a row without scores loses nothing to limits of scores.
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
    """Return ``chosen`` with all other candidates of its row that have a chosen text."""
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
        ``[B, N]`` int64, from 0; what is no negative comes behind.
    """
    falling = np.where(np.isnan(scores), 0.0, -scores)
    order = np.argsort(np.where(is_negative, falling, np.inf), axis=1, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(scores.shape[1])[None], axis=1)
    return rank
