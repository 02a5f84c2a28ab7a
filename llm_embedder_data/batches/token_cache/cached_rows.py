"""Datasets whose tokens are cached in a table, so that batches are made without reading text."""

from __future__ import annotations

from typing import Any

import datasets
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from llm_embedder_data.batches.groups.gathering import files_of
from llm_embedder_data.batches.groups.selection import Candidates
from llm_embedder_data.batches.groups.training_groups import (
    Groups,
    OwnInstructions,
    choose,
    known_columns,
    positive_ids,
    query_ids_of,
    scores_of,
    with_known,
)
from llm_embedder_data.batches.token_cache.cached_texts import CachedTexts
from llm_embedder_data.batches.token_cache.dataset_texts import holds_passages
from llm_embedder_data.batches.token_cache.token_table import TokenTable
from llm_embedder_data.rows.source_rows.row_instructions import INSTRUCTION_COLUMNS
from llm_embedder_data.rows.train_set import TrainSet

# How many candidates to select from in one call, to amortize the overhead of a call.
_CANDIDATES_AT_ONCE = 1 << 16

# How many rows' candidates to count at a time, to bound memory.
_COUNTED_ROWS = 1024


class CachedTrainRows:
    """Makes the same groups as :class:`TrainRows`, with encoded texts in place of strings.

    Args:
        train_set: the rows, and how their keys are chosen.
        table: the token table of the training set.
        group_size: G, keys per query.
        seed: seed of the run.

    Attributes:
        rows_at_once: for how many rows it pays to make groups in one call.
        files: the paths of the files that are read.
    """

    def __init__(self, train_set: TrainSet, table: TokenTable, group_size: int, seed: int) -> None:
        self.train_set = train_set
        self.group_size = group_size
        self.seed = seed
        self._table = table
        token_rows = train_set.token_rows
        self._positions = None if token_rows is None else token_rows.positions
        # Selection pads every row to the row with the most candidates, so that row sets the cost.
        self._bounds = "passage_bounds" if holds_passages(train_set) else "key_bounds"
        self.rows_at_once = _CANDIDATES_AT_ONCE // _most_candidates(table.array(self._bounds))
        names = train_set.rows.data.column("query_id_str")
        self.files = [str(table.file)]
        self._arrow: datasets.Dataset | None = None
        self._has_names = names.null_count < len(names)
        columns = ["query_id_int", "query_id_str"] * self._has_names
        if train_set.n_instructed:
            columns += INSTRUCTION_COLUMNS
        columns += known_columns(train_set)
        if columns:
            self.files += files_of(train_set.rows)
            self._arrow = train_set.rows.with_format("arrow", columns=columns)

    def __len__(self) -> int:
        return len(self.train_set.kept)

    def groups_at(
        self, positions: NDArray[np.int64], epoch: int, repeat: int = 0
    ) -> Groups[CachedTexts, CachedTexts]:
        """Return the groups of B kept rows, by their positions among the kept rows."""
        rows = self.train_set.kept[positions]
        table, group_size = self._table, self.group_size
        if self._positions is not None:
            positions = self._positions[positions]
        candidates = self._candidates(positions)
        selection = choose(self.train_set, candidates, rows, group_size, self.seed, epoch, repeat)
        chosen = selection.chosen
        columns = None if self._arrow is None else self._arrow[rows.tolist()]
        real, ids = chosen >= 0, table.text_ids
        queries = table.array("query")[positions]
        keys = np.where(real, self._keys(np.maximum(chosen, 0)), table.empty["key"]).ravel()
        return Groups(
            query=CachedTexts(table, "query", queries),
            query_text_id=ids[queries],
            query_id=self._query_ids(positions, rows, columns),
            key=CachedTexts(table, "key", keys),
            key_mask=real.astype(np.int64),
            key_id=np.where(real.ravel(), ids[keys], 0),
            positive_id=with_known(
                positive_ids(candidates, selection, lambda at: ids[self._keys(at)]), columns
            ),
            teacher_scores=scores_of(self.train_set, candidates, chosen),
            own_instructions=None if columns is None else OwnInstructions.of_table(columns),
        )

    def _candidates(self, positions: NDArray[np.int64]) -> Candidates:
        table = self._table
        # Not kept as an attribute, which would be pickled when a worker is spawned.
        bounds = table.array(self._bounds)
        starts = bounds[positions]
        if self.train_set.n_scored:
            scores = table.array("scores")
        else:
            scores = np.broadcast_to(np.nan, int(bounds[-1]))
        return Candidates(
            starts,
            bounds[positions + 1] - starts,
            table.array("n_pos")[positions].astype(np.int64),
            table.array("first_same"),
            scores,
        )

    def _keys(self, at: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the text number of each candidate in ``at``, in the same shape."""
        table = self._table
        if self._bounds == "passage_bounds":
            at = table.array("passage")[at]
        keys: NDArray[np.int64] = table.array("key")[at]
        return keys

    def _query_ids(
        self, positions: NDArray[np.int64], rows: NDArray[np.int64], columns: pa.Table | None
    ) -> list[int | str]:
        if self._has_names and columns is not None:
            return query_ids_of(columns, rows)
        ids: list[int | str] = self._table.array("query_id")[positions].tolist()
        return ids


class CachedEvalTexts:
    """The texts of an eval set: ``query``, and ``key`` with ``key_mask`` if there are candidates.

    Args:
        table: the token table of the eval set.
    """

    def __init__(self, table: TokenTable) -> None:
        self._table = table
        self.files = [str(table.file)]

    def at(self, positions: NDArray[np.int64]) -> dict[str, Any]:
        """Return ``query`` [B], and padded ``key`` [B*G] with ``key_mask`` [B, G].

        Args:
            positions: ``[B]`` int64, positions among the kept rows.
        """
        table = self._table
        queries = CachedTexts(table, "query", table.array("query")[positions])
        texts: dict[str, Any] = {"query": queries}
        if "key" in table.prefixes:
            bounds = table.array("key_bounds")
            starts, ends = bounds[positions], bounds[positions + 1]
            at = starts[:, None] + np.arange(int((ends - starts).max(initial=1)))
            real = at < ends[:, None]
            keys = np.where(real, table.array("key")[np.where(real, at, 0)], table.empty["key"])
            texts["key"] = CachedTexts(table, "key", keys.ravel())
            texts["key_mask"] = real.astype(np.int64)
        return texts


class CachedPassages:
    """The passages of a corpus, as ``content``.

    Args:
        table: the token table of the corpus.
    """

    def __init__(self, table: TokenTable) -> None:
        self._table = table
        self.files = [str(table.file)]

    def at(self, positions: NDArray[np.int64]) -> dict[str, Any]:
        """Return ``content`` [B] of the kept rows at ``positions``, ``[B]`` int64."""
        table = self._table
        return {"content": CachedTexts(table, "text", table.array("text")[positions])}


def _most_candidates(bounds: NDArray[np.int64]) -> int:
    """Return the largest number of candidates in a row."""
    starts = range(0, len(bounds) - 1, _COUNTED_ROWS)
    return max(int(np.diff(bounds[start : start + _COUNTED_ROWS + 1]).max()) for start in starts)
