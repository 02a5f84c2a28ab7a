"""Training groups (a query with its G keys), and how they are made from rows and chosen keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llm_embedder_data.batches.groups.selection import (
    Candidates,
    Selection,
    select,
    selection_seed,
)
from llm_embedder_data.rows.joins.joined_rows import KNOWN_ID
from llm_embedder_data.rows.source_rows.row_instructions import (
    INSTRUCTION_COLUMNS,
    QUERY_INSTRUCTION,
)
from llm_embedder_data.rows.train_set import TrainSet

Queries = TypeVar("Queries", bound="Texts")
Keys = TypeVar("Keys", bound="Texts")


class Texts(Protocol):
    """Anything that can be sliced like a list of texts: a list of strings, or encoded texts."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: slice, /) -> Any: ...


@dataclass(frozen=True, slots=True)
class OwnInstructions:
    """Instructions that the rows of a batch bring themselves; None for a row without one.

    Attributes:
        query: B instructions, each for the query of a row.
        key: B instructions, each for all keys of a row.
    """

    query: Sequence[str | None] = ()
    key: Sequence[str | None] = ()

    @classmethod
    def of_table(cls, table: pa.Table) -> OwnInstructions | None:
        """Return the instructions of some rows; None if their columns were not read."""
        if QUERY_INSTRUCTION not in table.column_names:
            return None
        return cls(*(table.column(name).to_pylist() for name in INSTRUCTION_COLUMNS))

    def part(self, start: int, end: int) -> OwnInstructions:
        """Return the instructions of the rows ``start`` to ``end``."""
        return OwnInstructions(self.query[start:end], self.key[start:end])


@dataclass(frozen=True, slots=True)
class Groups(Generic[Queries, Keys]):
    """B training groups, before tokenization: B queries with G keys each.

    Attributes:
        query: B texts.
        query_text_id: ``[B]`` int64, hashes of the query texts.
        query_id: B ids: the row's own id (int or str), or its row number if the row has no id.
        key: B lists of G texts, the positive first, padded with empty texts. Encoded texts form one
            flat sequence of B*G.
        key_mask: ``[B, G]`` int64, 0 where a key is padding.
        key_id: ``[B*G]`` int64, hashes of the key texts, 0 where a key is padding.
        positive_id: ``[B, P]`` int64, hashes of all known positives, and of the negatives that a
            policy or a miner takes for positives; 0 where a row has fewer.
        own_instructions: instructions that rows bring themselves; None if no row of the dataset
            has any.
        teacher_scores: ``[B, G]`` float64, NaN in rows without scores and 0 where a key is padding;
            None if the dataset has no scores at all.
    """

    query: Queries
    query_text_id: NDArray[np.int64]
    query_id: list[int | str]
    key: Keys
    key_mask: NDArray[np.int64]
    key_id: NDArray[np.int64]
    positive_id: NDArray[np.int64]
    teacher_scores: NDArray[np.float64] | None
    own_instructions: OwnInstructions | None = None

    def part(self, start: int, end: int) -> Groups[Queries, Keys]:
        """Return the queries ``start`` to ``end`` with their keys."""
        per_query, group = len(self.key) // len(self.query), self.key_mask.shape[1]
        positive_id, scores = self.positive_id[start:end], self.teacher_scores
        own = self.own_instructions
        # Each row's zeros come last, so an all-zero column is one that this part does not need.
        n_positives = np.count_nonzero(positive_id.any(axis=0))
        return Groups(
            query=self.query[start:end],
            query_text_id=self.query_text_id[start:end],
            query_id=self.query_id[start:end],
            key=self.key[start * per_query : end * per_query],
            key_mask=self.key_mask[start:end],
            key_id=self.key_id[start * group : end * group],
            positive_id=np.ascontiguousarray(positive_id[:, :n_positives]),
            teacher_scores=None if scores is None else scores[start:end],
            own_instructions=None if own is None else own.part(start, end),
        )


def candidates_of(table: pa.Table) -> Candidates:
    """Return the candidates of some rows of a training set, given as an Arrow table."""
    lengths = pc.list_value_length(table.column("key")).to_numpy().astype(np.int64)
    offsets = np.append(0, np.cumsum(lengths))
    scores = np.full(int(offsets[-1]), np.nan)
    column: pa.ListArray = _combined(table, "teacher_scores")
    if column.null_count == 0 and len(column.values) == len(scores):
        scores = column.values.to_numpy(zero_copy_only=False)
    elif column.null_count < len(column):
        ends = column.offsets.to_numpy()
        flat = column.values.to_numpy(zero_copy_only=False)
        for b in np.flatnonzero(np.diff(ends)):
            scores[offsets[b] : offsets[b + 1]] = flat[ends[b] : ends[b + 1]]
    return Candidates(
        starts=offsets[:-1],
        n_keys=np.diff(offsets),
        n_pos=_combined(table, "n_pos").to_numpy().astype(np.int64),
        first_same=_combined(table, "first_same").values.to_numpy(),
        scores=scores,
    )


def choose(
    train_set: TrainSet,
    candidates: Candidates,
    row_numbers: NDArray[np.int64],
    group_size: int,
    seed: int,
    epoch: int,
    repeat: int,
) -> Selection:
    """Choose the keys of some rows for a pass of an epoch: see :func:`select`.

    Args:
        train_set: the training set that the rows belong to.
        candidates: the candidates of the B rows.
        row_numbers: ``[B]`` int64, numbers on which the random choices depend.
        group_size: G, keys per query.
        seed: seed of the run.
        epoch: epoch for which keys are chosen.
        repeat: number of passes over the dataset that the epoch has made before this one.
    """
    settings, policies = train_set.settings, train_set.policies
    return select(
        candidates,
        group_size=group_size,
        select_positive=settings.select_positive,
        select_negative=settings.select_negative,
        stable_distill=settings.stable_distill,
        rows=row_numbers,
        seed=selection_seed(seed, train_set.name, epoch, repeat),
        policy=None if policies is None else policies.at(epoch),
    )


def scores_of(
    train_set: TrainSet, candidates: Candidates, chosen: NDArray[np.int64]
) -> NDArray[np.float64] | None:
    """Return the teacher scores of the chosen keys: see :attr:`Groups.teacher_scores`."""
    if not train_set.n_scored or not train_set.are_teacher_scores:
        return None
    found = candidates.scores[np.maximum(chosen, 0)]
    if train_set.score_scaling is not None:
        found = train_set.score_scaling(found)
    scores = np.where(chosen >= 0, found, 0.0)
    scores[np.isnan(scores[:, 0])] = np.nan  # a row without scores is NaN also in its padding
    return scores


def query_ids_of(table: pa.Table, rows: NDArray[np.int64]) -> list[int | str]:
    """Return an id for each row: its own, or its row number if it has none."""
    ids: list[int | str] = rows.tolist()
    for column in ("query_id_int", "query_id_str"):
        for b, given in enumerate(table.column(column).to_pylist()):
            if given is not None:
                ids[b] = given
    return ids


def positive_ids(
    candidates: Candidates,
    selection: Selection,
    ids_of: Callable[[NDArray[np.int64]], NDArray[np.int64]],
) -> NDArray[np.int64]:
    """Return hashes of all known positives of each query.

    These are the labelled positives, the chosen positive if it is unlabelled, and the negatives
    that a policy takes for positives.

    Args:
        candidates: the candidates of the B queries.
        selection: the keys chosen among them.
        ids_of: returns the text hashes of the candidates at some indices.

    Returns:
        ``[B, P]`` int64, 0 where a query has fewer.
    """
    starts, chosen, is_false = candidates.starts, selection.chosen[:, 0], selection.is_false
    promoted = chosen - starts >= candidates.n_pos  # [B]; the chosen positive is unlabelled
    n_known = counts = candidates.n_pos + promoted
    if is_false is not None:
        counts = n_known + is_false.sum(axis=1)
    out = np.zeros((len(starts), int(counts.max(initial=0))), np.int64)
    filled = np.arange(out.shape[1]) < counts[:, None]
    at = starts[:, None] + np.arange(out.shape[1])
    at[promoted, candidates.n_pos[promoted]] = chosen[promoted]
    if is_false is not None:
        # nonzero() goes row by row, as the boolean index below does, so the two orders agree.
        query, column = np.nonzero(is_false)
        at[filled & (np.arange(out.shape[1]) >= n_known[:, None])] = starts[query] + column
    out[filled] = ids_of(at[filled])
    return out


def known_columns(train_set: TrainSet) -> list[str]:
    """Return the name of the column with further known positives, if any row has some.

    Returns:
        A list of that one name, or an empty list.
    """
    if KNOWN_ID not in train_set.rows.column_names:
        return []
    lengths = pc.list_value_length(train_set.rows.data.column(KNOWN_ID))
    return [KNOWN_ID] if pc.max(lengths).as_py() else []


def with_known(positive_id: NDArray[np.int64], table: pa.Table | None) -> NDArray[np.int64]:
    """Add the further known positives of a table's rows to the hashes of :func:`positive_ids`.

    Args:
        positive_id: ``[B, P]`` int64, hashes.
        table: the B rows; None if no column of theirs was read.

    Returns:
        ``[B, P']`` int64, 0 where a query has fewer.
    """
    if table is None or KNOWN_ID not in table.column_names:
        return positive_id
    lists = table.column(KNOWN_ID).to_pylist()
    known = np.zeros((len(lists), max(map(len, lists))), np.int64)
    for row, ids in zip(known, lists, strict=True):
        row[: len(ids)] = ids
    both = np.concatenate([positive_id, known], axis=1)
    in_front = np.argsort(both == 0, axis=1, kind="stable")
    return np.take_along_axis(both, in_front, axis=1)


# --------------------------------------------------------------------------------------------------


def _combined(table: pa.Table, name: str) -> Any:
    """Return a column as one array.

    combine_chunks() copies. That is needed: a single chunk may be a slice of a longer array, whose
    ``values`` and ``offsets`` would then be those of the longer one.
    """
    return table.column(name).combine_chunks()
