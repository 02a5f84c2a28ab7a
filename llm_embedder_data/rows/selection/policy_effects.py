"""Computes, before training, what negative policies leave of the rows of a dataset."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llm_embedder_data.rows.selection.candidate_grid import CandidateGrid
from llm_embedder_data.rows.selection.negative_policy import NegativePolicy
from llm_embedder_data.rows.selection.policy_schedule import PolicySchedule
from llm_embedder_data.rows.selection.train_settings import PositiveInForce

_COLUMNS = ["n_pos", "first_same", "teacher_scores"]
_LIMITS = tuple(field.name for field in fields(NegativePolicy))

# The maximum number of candidates in a grid, which limits memory.
_CANDIDATES_AT_ONCE = 1 << 18


@dataclass(slots=True)
class PolicyEffects:
    """What negative policies leave of the rows of a dataset.

    Attributes:
        left_out: the number of negatives that a limit leaves out under each policy of the schedule,
            by limit. A negative counts for the first limit that it breaks, in the order of
            :class:`NegativePolicy`.
        most_negatives: the largest number of hard negatives that a row has in any epoch.
        without: whether a judged row has no hard negative in any epoch, ``[n]`` bool.
        n_sometimes_without: the number of judged rows without a hard negative in some epochs, but
            not in all.
    """

    left_out: dict[str, list[int]]
    most_negatives: int
    without: NDArray[np.bool_]
    n_sometimes_without: int


def policy_effects(
    table: pa.Table,
    judged: NDArray[np.bool_],
    select_positive: PositiveInForce,
    schedule: PolicySchedule,
) -> PolicyEffects:
    """Apply each policy of a schedule to the negatives of rows.

    Args:
        table: rows with columns of ``TRAIN_SCHEMA``; no text is read.
        judged: whether to judge each row, ``[n]`` bool; each judged row has a positive.
        select_positive: the strategy in force.
        schedule: the policies.
    """
    policies = schedule.policies
    left_out = {
        name: [0] * len(policies)
        for name in _LIMITS
        if any(getattr(policy, name) is not None for policy in policies)
    }
    effects = PolicyEffects(left_out, 0, np.zeros(len(judged), bool), 0)
    for rows, grid in _grids(table, judged):
        negative = grid.negatives(
            np.where(grid.left_to_teacher(select_positive), grid.best_scored(select_positive), 0)
        )
        p = grid.positive_score(select_positive)
        n_left = np.empty((len(policies), len(rows)), np.int64)
        for number, policy in enumerate(policies):
            n_stay = n_left[number] = negative.sum(axis=1)
            for name, part in _tightened(policy):
                stays, _ = part.judge(grid.score, negative, p, grid.same)
                n_left[number] = stays.sum(axis=1)
                left_out[name][number] += int((n_stay - n_left[number]).sum())
                n_stay = n_left[number].copy()
        never = (n_left == 0).all(axis=0)
        effects.without[rows] = never
        effects.n_sometimes_without += int(((n_left == 0).any(axis=0) & ~never).sum())
        effects.most_negatives = max(effects.most_negatives, int(n_left.max(initial=0)))
    return effects


# --------------------------------------------------------------------------------------------------


def _tightened(policy: NegativePolicy) -> Iterator[tuple[str, NegativePolicy]]:
    """Yield the name of each limit of a policy, and a policy of the limits up to this one."""
    limits = {}
    for name in _LIMITS:
        if (value := getattr(policy, name)) is not None:
            limits[name] = value
            yield name, NegativePolicy(**limits)


def _grids(
    table: pa.Table, judged: NDArray[np.bool_]
) -> Iterator[tuple[NDArray[np.int64], CandidateGrid]]:
    """Yield the numbers of some of the judged rows, and their candidates."""
    end = 0
    for batch in table.select(_COLUMNS).to_batches():
        start, end = end, end + len(batch)
        rows = np.flatnonzero(judged[start:end])
        lengths = pc.list_value_length(batch.column("first_same")).to_numpy()
        for part in _parts(rows, lengths):
            yield part + start, _grid(batch.take(pa.array(part)))


def _parts(rows: NDArray[np.int64], lengths: NDArray[np.int32]) -> Iterator[NDArray[np.int64]]:
    """Yield the rows in blocks whose grids have a limited size; a block has at least one row."""
    if len(rows) > 1 and len(rows) * int(lengths[rows].max()) > _CANDIDATES_AT_ONCE:
        half = len(rows) // 2
        yield from _parts(rows[:half], lengths)
        yield from _parts(rows[half:], lengths)
    elif len(rows):
        yield rows


def _grid(batch: pa.RecordBatch) -> CandidateGrid:
    lists = batch.column("first_same")
    lengths = pc.list_value_length(lists).to_numpy()
    exists = np.arange(int(lengths.max(initial=1))) < lengths[:, None]
    same = np.zeros(exists.shape, np.int32)
    same[exists] = lists.flatten().to_numpy()
    scores = batch.column("teacher_scores")
    score = np.full(exists.shape, np.nan)
    scored = scores.is_valid().to_numpy(zero_copy_only=False)
    score[exists & scored[:, None]] = scores.flatten().to_numpy()
    n_pos = batch.column("n_pos").to_numpy().astype(np.int64)
    return CandidateGrid(exists, same, score, n_pos, scored)
