"""One dataset's rows with their keys chosen; only the chosen texts are made into Python strings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llm_embedder_data.batches.groups.gathering import GatheredTexts
from llm_embedder_data.batches.groups.selection import Candidates, select, selection_seed
from llm_embedder_data.core.hashing import text_ids
from llm_embedder_data.rows.train_sets import TrainSet

_TRAIN_COLUMNS = [
    "query",
    "query_id_int",
    "query_id_str",
    "key",
    "teacher_scores",
    "first_same",
    "n_pos",
]


Queries = TypeVar("Queries", bound="Texts")
Keys = TypeVar("Keys", bound="Texts")


class Texts(Protocol):
    """A list, or what is cut like one."""

    def __len__(self) -> int: ...

    def __getitem__(self, places: slice, /) -> Any: ...


@dataclass(frozen=True, slots=True)
class Groups(Generic[Queries, Keys]):
    """B queries with G keys each, before tokenisation.

    Attributes:
        query: B texts, or their numbers in a table of tokens.
        query_id: B ids, the rows' own (int or str) or their numbers.
        key: B lists of G texts, the positive first; empty texts fill up; or the numbers of B*G.
        key_mask: ``[B, G]`` int64, 0 where a key fills up.
        key_id: ``[B*G]`` int64, hashes of the key texts, 0 where a key fills up.
        positive_id: ``[B, P]`` int64, hashes of all known positives, 0 where a row has fewer.
        teacher_scores: ``[B, G]`` float64, NaN in rows without and 0 where a key fills up; None
            where the dataset has none at all.
    """

    query: Queries
    query_id: list[int | str]
    key: Keys
    key_mask: NDArray[np.int64]
    key_id: NDArray[np.int64]
    positive_id: NDArray[np.int64]
    teacher_scores: NDArray[np.float64] | None

    def part(self, start: int, end: int) -> Groups[Queries, Keys]:
        """Queries ``start`` to ``end`` with their keys."""
        per_query, group = len(self.key) // len(self.query), self.key_mask.shape[1]
        positive_id, scores = self.positive_id[start:end], self.teacher_scores
        n_positives = np.count_nonzero(positive_id.any(axis=0))  # zeros are behind them
        return Groups(
            query=self.query[start:end],
            query_id=self.query_id[start:end],
            key=self.key[start * per_query : end * per_query],
            key_mask=self.key_mask[start:end],
            key_id=self.key_id[start * group : end * group],
            positive_id=np.ascontiguousarray(positive_id[:, :n_positives]),
            teacher_scores=None if scores is None else scores[start:end],
        )


TextGroups = Groups[list[str], list[list[str]]]


class TrainRows:
    """The kept rows of one training set, grouped: a pure function of rows and epoch.

    Args:
        train_set: the rows and how their keys are chosen.
        group_size: G, keys per query.
        seed: of the choices.

    Attributes:
        at_once: rows whose groups are made together where more are asked for: none, as texts are
            large.
        files: that are read.
    """

    at_once = 1

    def __init__(self, train_set: TrainSet, group_size: int, seed: int) -> None:
        self.train_set = train_set
        self.group_size = group_size
        self.seed = seed
        self.files = files_of(train_set.rows)
        self._arrow: datasets.Dataset = train_set.rows.with_format("arrow", columns=_TRAIN_COLUMNS)

    def __len__(self) -> int:
        return len(self.train_set.kept)

    def at(self, places: NDArray[np.int64], epoch: int, repeat: int = 0) -> TextGroups:
        """The groups of B kept rows, by their places among these, ``[B]`` int64."""
        return self.groups(self.train_set.kept[places], epoch, repeat)

    def groups(
        self,
        rows: NDArray[np.int64],
        epoch: int,
        repeat: int = 0,
        numbers: NDArray[np.int64] | None = None,
    ) -> TextGroups:
        """The groups of B kept rows.

        Args:
            rows: ``[B]`` int64, row numbers within the dataset (not places among the kept ones).
            epoch: that choices are drawn for.
            repeat: pass of the epoch that choices are drawn for.
            numbers: ``[B]`` int64 that choices are a function of, where they are not the row
                numbers.
        """
        train_set, group = self.train_set, self.group_size
        table: pa.Table = self._arrow[rows.tolist()]
        candidates = candidates_of(table)
        numbers = rows if numbers is None else numbers
        chosen = choose(train_set, candidates, numbers, group, self.seed, epoch, repeat)
        real = chosen >= 0  # [B, G]
        keys = GatheredTexts(table.column("key"))
        texts = keys.at(np.where(real, chosen, 0).ravel())
        if not real.all():
            texts = [t if r else "" for t, r in zip(texts, real.ravel().tolist(), strict=True)]
        return Groups(
            query=table.column("query").to_pylist(),
            query_id=query_ids_of(table, rows),
            key=[texts[b * group : (b + 1) * group] for b in range(len(rows))],
            key_mask=real.astype(np.int64),
            key_id=np.where(real.ravel(), text_ids(texts), 0),
            positive_id=positive_ids(
                candidates,
                chosen[:, 0],
                lambda places: text_ids(keys.at(places)),
            ),
            teacher_scores=scores_of(candidates, chosen) if train_set.n_scored else None,
        )


def files_of(rows: datasets.Dataset) -> list[str]:
    """The files that rows are mapped from."""
    return [file["filename"] for file in rows.cache_files]


def candidates_of(table: pa.Table) -> Candidates:
    """The keys that rows of a training set's table may choose from."""
    lengths = pc.list_value_length(table.column("key")).to_numpy().astype(np.int64)
    offsets = np.append(0, np.cumsum(lengths))
    scores = np.full(int(offsets[-1]), np.nan)
    column: pa.ListArray = _one(table, "teacher_scores")
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
        n_pos=_one(table, "n_pos").to_numpy().astype(np.int64),
        first_same=_one(table, "first_same").values.to_numpy(),
        scores=scores,
    )


def choose(
    train_set: TrainSet,
    candidates: Candidates,
    numbers: NDArray[np.int64],
    group_size: int,
    seed: int,
    epoch: int,
    repeat: int,
) -> NDArray[np.int64]:
    """The keys of a set's rows in a pass of an epoch, ``[B, G]`` int64: see :func:`select`."""
    settings = train_set.settings
    return select(
        candidates,
        group_size=group_size,
        select_positive=settings.select_positive,
        select_negative=settings.select_negative,
        stable_distill=settings.stable_distill,
        rows=numbers,
        seed=selection_seed(seed, train_set.name, epoch, repeat),
    )


def scores_of(candidates: Candidates, chosen: NDArray[np.int64]) -> NDArray[np.float64]:
    """The teacher scores of the chosen keys, ``[B, G]``, as :class:`Groups` has them."""
    scores = np.where(chosen >= 0, candidates.scores[np.maximum(chosen, 0)], 0.0)
    scores[np.isnan(scores[:, 0])] = np.nan  # a row without scores has none for its filling
    return scores


def query_ids_of(table: pa.Table, rows: NDArray[np.int64]) -> list[int | str]:
    """The rows' own ids, or their numbers."""
    ids: list[int | str] = rows.tolist()
    for column in ("query_id_int", "query_id_str"):
        for b, own in enumerate(table.column(column).to_pylist()):
            if own is not None:
                ids[b] = own
    return ids


def positive_ids(
    candidates: Candidates,
    chosen: NDArray[np.int64],
    ids_of: Callable[[NDArray[np.int64]], NDArray[np.int64]],
) -> NDArray[np.int64]:
    """The labelled positives of each query, and the chosen one where it is none of them.

    Args:
        candidates: of the B queries.
        chosen: ``[B]`` int64, the place of each positive.
        ids_of: hashes of the texts at places.

    Returns:
        ``[B, P]`` int64, 0 where a query has fewer.
    """
    starts = candidates.starts
    promoted = chosen - starts >= candidates.n_pos  # [B]
    counts = candidates.n_pos + promoted
    out = np.zeros((len(starts), int(counts.max(initial=0))), np.int64)
    filled = np.arange(out.shape[1]) < counts[:, None]
    at = starts[:, None] + np.arange(out.shape[1])
    at[promoted, candidates.n_pos[promoted]] = chosen[promoted]
    out[filled] = ids_of(at[filled])
    return out


# --------------------------------------------------------------------------------------------------


def _one(table: pa.Table, name: str) -> Any:
    """A column as one array; a copy, as a single chunk may be a slice of a longer array."""
    return table.column(name).combine_chunks()
