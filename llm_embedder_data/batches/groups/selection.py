"""Which positive and which negatives a query gets this epoch: pure, for a whole batch at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.config.recipes import NegativeStrategy
from llm_embedder_data.core.hashing import below, hash_rows, stream_seed
from llm_embedder_data.core.slices import slices_at
from llm_embedder_data.rows.train_settings import FIRST_ELSE_TEACHER, PositiveInForce

_S11 = np.array(11, np.uint64)
_LAST = np.array((1 << 64) - 1, np.uint64)
_BY_SCORE = {"teacher", "teacher-pos", "teacher+", "teacher-", FIRST_ELSE_TEACHER}


@dataclass(frozen=True, slots=True)
class Candidates:
    """The keys that the queries of a batch may choose from, somewhere in flat arrays.

    Attributes:
        starts: ``[B]`` int64, where the candidates of each query begin, its labelled positives
            first.
        n_keys: ``[B]`` int64, candidates.
        n_pos: ``[B]`` int64, labelled positives.
        first_same: ``[n]`` int32, for each candidate the first of its row with the same text.
        scores: ``[n]`` float64, the teacher's; NaN in rows without.
    """

    starts: NDArray[np.int64]
    n_keys: NDArray[np.int64]
    n_pos: NDArray[np.int64]
    first_same: NDArray[np.int32]
    scores: NDArray[np.float64]


def select(
    candidates: Candidates,
    *,
    group_size: int,
    select_positive: PositiveInForce,
    select_negative: NegativeStrategy,
    stable_distill: bool,
    rows: NDArray[np.int64],
    seed: int,
) -> NDArray[np.int64]:
    """Choose one positive and ``group_size - 1`` negatives for each query.

    - ``first``: the first positive, the first negatives. ``random``: any.
    - ``teacher``: the candidate with the highest score is the positive, a negative too; it leaves
      the negatives, and so do others with its text. ``teacher-pos``: the labelled positive with the
      highest. ``first-else-teacher``: the first labelled positive, or ``teacher`` in a row that
      has none.
    - ``teacher+`` / ``teacher-``: negatives with the highest / lowest scores first; ties keep their
      order.
    - A row without scores takes the first positive and random negatives where a strategy needs
      scores.

    A labelled positive never is a negative, nor is a text that equals one. Where there are fewer
    negatives than wanted, all are taken in turn, in the strategy's order, before any is taken
    again.

    Args:
        candidates: of the B queries.
        group_size: G, keys per query.
        select_positive: strategy.
        select_negative: strategy.
        stable_distill: sort the chosen negatives by score, descending.
        rows: ``[B]`` int64, the number that a query's random choices are a function of.
        seed: from :func:`selection_seed`.

    Returns:
        ``[B, G]`` int64, places in the flat arrays, the positive first; -1 where there is no
        negative.
    """
    starts, n_keys = candidates.starts, candidates.n_keys
    n_pos = candidates.n_pos[:, None]  # [B, 1]
    query = np.arange(len(rows))[:, None]  # [B, 1]
    place = np.arange(int(n_keys.max(initial=1)))  # [N]
    exists = place < n_keys[:, None]  # [B, N]
    same = slices_at(candidates.first_same, starts, len(place))  # [B, N]
    if stable_distill or {select_positive, select_negative} & _BY_SCORE:
        score = np.where(exists, slices_at(candidates.scores, starts, len(place)), np.nan)
    else:
        score = np.full(same.shape, np.nan)
    scored = ~np.isnan(score[:, 0])  # [B]

    positive = np.zeros(len(rows), np.int64)
    if select_positive == "random":
        positive = below(hash_rows(stream_seed(seed, "positive"), rows), np.maximum(n_pos[:, 0], 1))
    elif select_positive != "first":
        eligible = exists & (place < n_pos) if select_positive == "teacher-pos" else exists
        best = np.argmax(np.where(eligible & scored[:, None], score, -np.inf), axis=1)
        teacher_chooses = scored
        if select_positive == FIRST_ELSE_TEACHER:
            teacher_chooses = scored & (n_pos[:, 0] == 0)
        positive = np.where(teacher_chooses, best, 0)

    # A text is first at its own place or before it: from n_pos on, it is no positive's.
    negative = exists & (same >= n_pos) & (same != same[query, positive[:, None]])
    n_negatives = negative.sum(axis=1)
    order = _in_turn(select_negative, negative, score, scored, rows, seed)
    turn = np.arange(group_size - 1) % np.maximum(n_negatives, 1)[:, None]
    negatives = order[query, turn]  # [B, G-1]
    if stable_distill and group_size > 1:
        falling = np.argsort(-score[query, negatives], axis=1, kind="stable")
        negatives = np.where(scored[:, None], negatives[query, falling], negatives)
    places = np.concatenate([positive[:, None], negatives], axis=1)
    chosen: NDArray[np.int64] = starts[:, None] + places
    chosen[n_negatives == 0, 1:] = -1
    return chosen


def selection_seed(seed: int, dataset: str, epoch: int, repeat: int = 0) -> int:
    """The seed of all choices for a dataset's rows in one pass of one epoch."""
    return stream_seed(seed, "selection", dataset, epoch, repeat)


def _in_turn(
    strategy: NegativeStrategy,
    negative: NDArray[np.bool_],
    score: NDArray[np.float64],
    scored: NDArray[np.bool_],
    rows: NDArray[np.int64],
    seed: int,
) -> NDArray[np.int64]:
    """``[B, N]`` int64: the places of the negatives as they are taken, behind them any others."""
    place = np.arange(negative.shape[1])
    if strategy == "first":
        return _sorted(~negative)
    by_score = -score if strategy == "teacher+" else score
    if strategy != "random" and scored.all():
        return _sorted(np.where(negative, by_score, np.inf))
    row_words = hash_rows(stream_seed(seed, "negatives"), rows)
    words = hash_rows(0, (row_words[:, None] + place.astype(np.uint64)).view(np.int64))
    if strategy == "random":
        # Words that end in their own place are sorted by themselves, several times as fast.
        low = np.array((1 << max(11, len(place).bit_length())) - 1, np.uint64)
        words = np.where(negative, words & ~low | place.astype(np.uint64), _LAST)
        order = (np.sort(words, axis=1) & low).view(np.int64)
        return np.clip(order, None, place[-1])
    drawn = (words >> _S11).astype(np.float64)  # 53 bits: exact
    return _sorted(np.where(negative, np.where(scored[:, None], by_score, drawn), np.inf))


def _sorted(rank: NDArray[np.float64] | NDArray[np.bool_]) -> NDArray[np.int64]:
    """The places of each row in ascending order of ``rank``."""
    return np.argsort(rank, axis=1, kind="stable")
