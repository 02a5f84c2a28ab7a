"""Which positive and which negatives each query of a batch gets in an epoch.

The choice is a pure function of the rows, the settings, the seed and the epoch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.config.recipes import NegativeStrategy
from llm_embedder_data.core.hashing import below, hash_rows, stream_seed
from llm_embedder_data.core.slices import slices_at
from llm_embedder_data.rows.selection.candidate_grid import CandidateGrid
from llm_embedder_data.rows.selection.negative_policy import NegativePolicy
from llm_embedder_data.rows.selection.train_settings import FIRST_ELSE_TEACHER, PositiveInForce

_S11 = np.array(11, np.uint64)
_LAST = np.array((1 << 64) - 1, np.uint64)
_BY_SCORE = {"teacher", "teacher-pos", "teacher+", "teacher-", FIRST_ELSE_TEACHER}


@dataclass(frozen=True, slots=True)
class Candidates:
    """The candidates of the queries of a batch, as slices of flat arrays.

    Attributes:
        starts: ``[B]`` int64, where the candidates of each query begin, its labelled positives
            first.
        n_keys: ``[B]`` int64, number of candidates.
        n_pos: ``[B]`` int64, number of labelled positives.
        first_same: ``[n]`` int32, for each candidate the position within its row of the first
            candidate with the same text.
        scores: ``[n]`` float64, teacher scores; NaN in rows without scores.
    """

    starts: NDArray[np.int64]
    n_keys: NDArray[np.int64]
    n_pos: NDArray[np.int64]
    first_same: NDArray[np.int32]
    scores: NDArray[np.float64]


class Selection(NamedTuple):
    """The keys of the queries of a batch.

    Attributes:
        chosen: ``[B, G]`` int64, indices into the flat arrays of :class:`Candidates`, the positive
            first; -1 where a query has no negative.
        is_false: ``[B, N]`` bool, the false negatives: candidates that the policy takes for
            positives. Of candidates with equal texts only the first is marked. None if there are
            no false negatives.
    """

    chosen: NDArray[np.int64]
    is_false: NDArray[np.bool_] | None


def select(
    candidates: Candidates,
    *,
    group_size: int,
    select_positive: PositiveInForce,
    select_negative: NegativeStrategy,
    stable_distill: bool,
    rows: NDArray[np.int64],
    seed: int,
    policy: NegativePolicy | None = None,
) -> Selection:
    """Choose one positive and ``group_size - 1`` negatives for each query.

    Strategies for the positive:

    - ``first``: the first labelled positive. ``random``: any labelled positive.
    - ``teacher``: the candidate with the highest score, whether it is labelled or not. A candidate
      with the text of this positive is not used as a negative.
    - ``teacher-pos``: the labelled positive with the highest score.
    - ``first-else-teacher``: the first labelled positive; in a row without one, as ``teacher``.

    Strategies for the negatives:

    - ``first``: the first negatives. ``random``: any negatives.
    - ``teacher+`` / ``teacher-``: the negatives with the highest / lowest scores; ties keep their
      order.

    If a strategy needs scores, a row without scores takes the first positive, and random negatives.

    A labelled positive never becomes a negative, nor does a text that equals one. If a query has
    fewer than ``group_size - 1`` negatives, each is used once, in the strategy's order, before any
    is used again.

    Args:
        candidates: the candidates of the B queries.
        group_size: G, keys per query.
        select_positive: strategy for the positive.
        select_negative: strategy for the negatives.
        stable_distill: sort the chosen negatives by score, descending.
        rows: ``[B]`` int64, row numbers; random choices for a query depend on its row number.
        seed: from :func:`selection_seed`.
        policy: limits on the negatives; None for no limit.
    """
    starts, n_keys = candidates.starts, candidates.n_keys
    query = np.arange(len(rows))[:, None]  # [B, 1]
    column = np.arange(int(n_keys.max(initial=1)))  # [N]
    exists = column < n_keys[:, None]  # [B, N]
    same = slices_at(candidates.first_same, starts, len(column))  # [B, N]
    if policy is not None or stable_distill or {select_positive, select_negative} & _BY_SCORE:
        score = np.where(exists, slices_at(candidates.scores, starts, len(column)), np.nan)
    else:
        score = np.full(same.shape, np.nan)
    scored = ~np.isnan(score[:, 0])  # [B]
    grid = CandidateGrid(exists, same, score, candidates.n_pos, scored)

    positive = _positives(select_positive, grid, rows, seed)
    negative, is_false = grid.negatives(positive), None
    if policy is not None:
        p = grid.positive_score(select_positive)
        negative, is_false = policy.judge(score, negative, p, same)
        is_false &= same == column
    n_negatives = negative.sum(axis=1)
    order = _order_of_use(select_negative, negative, score, scored, rows, seed)
    turn = np.arange(group_size - 1) % np.maximum(n_negatives, 1)[:, None]
    negatives = order[query, turn]  # [B, G-1]
    if stable_distill and group_size > 1:
        falling = np.argsort(-score[query, negatives], axis=1, kind="stable")
        negatives = np.where(scored[:, None], negatives[query, falling], negatives)
    columns = np.concatenate([positive[:, None], negatives], axis=1)
    chosen: NDArray[np.int64] = starts[:, None] + columns
    chosen[n_negatives == 0, 1:] = -1
    return Selection(chosen, is_false if is_false is not None and is_false.any() else None)


def selection_seed(seed: int, dataset: str, epoch: int, repeat: int = 0) -> int:
    """Return the seed of all choices for a dataset's rows in one pass of one epoch."""
    return stream_seed(seed, "selection", dataset, epoch, repeat)


def _positives(
    strategy: PositiveInForce, grid: CandidateGrid, rows: NDArray[np.int64], seed: int
) -> NDArray[np.int64]:
    """Return the column of each query's positive, ``[B]`` int64."""
    if strategy == "first":
        return np.zeros(len(rows), np.int64)
    if strategy == "random":
        return below(hash_rows(stream_seed(seed, "positive"), rows), np.maximum(grid.n_pos, 1))
    return np.where(grid.left_to_teacher(strategy), grid.best_scored(strategy), 0)


def _order_of_use(
    strategy: NegativeStrategy,
    negative: NDArray[np.bool_],
    score: NDArray[np.float64],
    scored: NDArray[np.bool_],
    rows: NDArray[np.int64],
    seed: int,
) -> NDArray[np.int64]:
    """Return the order in which each query uses its candidates as negatives.

    Returns:
        ``[B, N]`` int64, candidate columns: first the negatives in the strategy's order, then the
        columns that are no negatives, in no particular order.
    """
    column = np.arange(negative.shape[1])
    if strategy == "first":
        return _sorted(~negative)
    by_score = -score if strategy == "teacher+" else score
    if strategy != "random" and scored.all():
        return _sorted(np.where(negative, by_score, np.inf))
    row_words = hash_rows(stream_seed(seed, "negatives"), rows)
    words = hash_rows(0, (row_words[:, None] + column.astype(np.uint64)).view(np.int64))
    if strategy == "random":
        # Put the column into the low bits of each random word. Sorting the words then sorts the
        # columns with them, which is several times as fast as argsort.
        low = np.array((1 << max(11, len(column).bit_length())) - 1, np.uint64)
        words = np.where(negative, words & ~low | column.astype(np.uint64), _LAST)
        order = (np.sort(words, axis=1) & low).view(np.int64)
        return np.clip(order, None, column[-1])
    drawn = (words >> _S11).astype(np.float64)  # 53 bits are exact in a float64
    return _sorted(np.where(negative, np.where(scored[:, None], by_score, drawn), np.inf))


def _sorted(rank: NDArray[np.float64] | NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the columns of each row in ascending order of ``rank``."""
    return np.argsort(rank, axis=1, kind="stable")
