"""Rows whose tokens are in a table: no text is read to make a batch of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llm_embedder_data.batches.groups.gathering import gathered, texts_of_lists
from llm_embedder_data.batches.groups.selection import Candidates
from llm_embedder_data.batches.groups.train_rows import (
    Groups,
    candidates_of,
    choose,
    files_of,
    positive_ids,
    query_ids_of,
    scores_of,
)
from llm_embedder_data.batches.token_cache.cached_tokenizer import CachedTexts
from llm_embedder_data.batches.token_cache.table import TokenTable
from llm_embedder_data.batches.token_cache.table_building import Block
from llm_embedder_data.rows.corpora import Corpus
from llm_embedder_data.rows.eval_sets import EvalSet
from llm_embedder_data.rows.train_sets import TrainSet

# Rows at a time where what is made of them takes memory: Python strings, or numbers.
_BLOCK_ROWS = 1024

# Keys among which is chosen in one call: a call alone costs as much as the choice for some rows.
_KEYS_AT_ONCE = 1 << 16


def train_blocks(train_set: TrainSet) -> Callable[[int], Iterator[Block]]:
    """The kept rows: columns ``query`` and ``key``, and what the choice of keys looks at."""
    columns = ["query", "query_id_int", "key", "teacher_scores", "first_same", "n_pos"]
    arrow = train_set.rows.with_format("arrow", columns=columns)

    def blocks(first: int) -> Iterator[Block]:
        for rows, table in _gathered(arrow, train_set.kept, first):
            candidates = candidates_of(table)
            keys = texts_of_lists(table.column("key"))
            ids = table.column("query_id_int").combine_chunks()
            arrays = {
                "query_id": pc.coalesce(ids, pa.array(rows)).to_numpy(),
                "n_pos": candidates.n_pos.astype(np.int32),
                "first_same": candidates.first_same,
            }
            if train_set.n_scored:
                arrays["scores"] = candidates.scores
            texts = {"query": table.column("query").to_pylist(), "key": keys}
            yield Block(len(rows), texts, {"key": candidates.n_keys}, arrays)

    return blocks


def eval_blocks(eval_set: EvalSet) -> Callable[[int], Iterator[Block]]:
    """The kept rows: column ``query``, and ``key`` where there are keys to rank."""
    ranks = "key" in eval_set.rows.column_names
    arrow = eval_set.rows.with_format("arrow", columns=["query", "key"] if ranks else ["query"])

    def blocks(first: int) -> Iterator[Block]:
        for rows, table in _gathered(arrow, eval_set.kept, first):
            texts, sizes = {"query": table.column("query").to_pylist()}, {}
            if ranks:
                keys = table.column("key").to_pylist()
                texts["key"] = [key for one in keys for key in one]
                sizes["key"] = np.fromiter(map(len, keys), np.int64, len(keys))
            yield Block(len(rows), texts, sizes)

    return blocks


def corpus_blocks(corpus: Corpus) -> Callable[[int], Iterator[Block]]:
    """The kept passages: column ``text``."""
    fields = [name for name in corpus.rows.column_names if name != "fault"]
    arrow = corpus.rows.with_format("arrow", columns=fields)

    def blocks(first: int) -> Iterator[Block]:
        for rows, _ in _gathered(arrow, corpus.kept, first):
            yield Block(len(rows), {"text": corpus.texts(rows)})

    return blocks


class CachedTrainRows:
    """TrainRows whose keys are numbers of texts in a table; the choices are the same.

    Args:
        train_set: the rows and how their keys are chosen.
        table: of :func:`train_blocks`.
        group_size: G, keys per query.
        seed: of the choices.

    Attributes:
        at_once: rows whose groups are made together where more are asked for.
        files: that are read.
    """

    def __init__(self, train_set: TrainSet, table: TokenTable, group_size: int, seed: int) -> None:
        self.train_set = train_set
        self.group_size = group_size
        self.seed = seed
        self._table = table
        # By the longest row: as many places are looked at in each row that it is chosen with.
        self.at_once = _KEYS_AT_ONCE // _longest(table.array("key_bounds"))
        names = train_set.rows.data.column("query_id_str")
        self.files = [str(table.file)]
        self._named: datasets.Dataset | None = None
        if names.null_count < len(names):
            columns = ["query_id_int", "query_id_str"]
            self.files += files_of(train_set.rows)
            self._named = train_set.rows.with_format("arrow", columns=columns)

    def __len__(self) -> int:
        return len(self.train_set.kept)

    def at(
        self, places: NDArray[np.int64], epoch: int, repeat: int = 0
    ) -> Groups[CachedTexts, CachedTexts]:
        """The groups of B kept rows, by their places among these, ``[B]`` int64."""
        rows = self.train_set.kept[places]
        table, group = self._table, self.group_size
        bounds = table.array("key_bounds")  # kept here, it would be pickled for a spawned worker
        starts = bounds[places]
        scored = self.train_set.n_scored > 0
        candidates = Candidates(
            starts,
            bounds[places + 1] - starts,
            table.array("n_pos")[places].astype(np.int64),
            table.array("first_same"),
            table.array("scores") if scored else np.broadcast_to(np.nan, int(bounds[-1])),
        )
        chosen = choose(self.train_set, candidates, rows, group, self.seed, epoch, repeat)
        real, texts, ids = chosen >= 0, table.array("key"), table.text_ids
        keys = np.where(real, texts[np.maximum(chosen, 0)], table.empty["key"]).ravel()
        return Groups(
            query=CachedTexts(table, "query", table.array("query")[places]),
            query_id=self._query_ids(places, rows),
            key=CachedTexts(table, "key", keys),
            key_mask=real.astype(np.int64),
            key_id=np.where(real.ravel(), ids[keys], 0),
            positive_id=positive_ids(candidates, chosen[:, 0], lambda places: ids[texts[places]]),
            teacher_scores=scores_of(candidates, chosen) if scored else None,
        )

    def _query_ids(self, places: NDArray[np.int64], rows: NDArray[np.int64]) -> list[int | str]:
        if self._named is not None:
            return query_ids_of(self._named[rows.tolist()], rows)
        ids: list[int | str] = self._table.array("query_id")[places].tolist()
        return ids


class CachedEvalRows:
    """The texts of an eval set as numbers in a table of :func:`eval_blocks`."""

    def __init__(self, table: TokenTable) -> None:
        self._table = table

    def texts(self, places: NDArray[np.int64]) -> dict[str, Any]:
        """``query``; and where there are keys to rank, ``key``, filled up, and ``key_mask`` [B, G].

        Args:
            places: ``[B]`` int64, among the kept rows.
        """
        table = self._table
        texts: dict[str, Any] = {"query": CachedTexts(table, "query", table.array("query")[places])}
        if "key" in table.prefixes:
            bounds = table.array("key_bounds")
            begins, ends = bounds[places], bounds[places + 1]
            at = begins[:, None] + np.arange(int((ends - begins).max(initial=1)))
            real = at < ends[:, None]
            keys = np.where(real, table.array("key")[np.where(real, at, 0)], table.empty["key"])
            texts["key"] = CachedTexts(table, "key", keys.ravel())
            texts["key_mask"] = real.astype(np.int64)
        return texts


# --------------------------------------------------------------------------------------------------


def _longest(bounds: NDArray[np.int64]) -> int:
    """The most keys of a row."""
    firsts = range(0, len(bounds) - 1, _BLOCK_ROWS)
    return max(int(np.diff(bounds[first : first + _BLOCK_ROWS + 1]).max()) for first in firsts)


def _gathered(
    arrow: datasets.Dataset, rows: NDArray[np.int64], first: int
) -> Iterator[tuple[NDArray[np.int64], pa.Table]]:
    for start in range(first, len(rows), _BLOCK_ROWS):
        yield from gathered(arrow, rows[start : start + _BLOCK_ROWS])
