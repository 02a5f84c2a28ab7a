"""What of a dataset goes into its token table: its texts, and arrays that selection needs.

Each function returns a function that yields the kept rows from a given one on, block by block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llm_embedder_data.batches.groups.gathering import gathered, texts_of_lists
from llm_embedder_data.batches.groups.training_groups import candidates_of
from llm_embedder_data.batches.token_cache.growing_table import RowBlock
from llm_embedder_data.rows.corpora import Corpus
from llm_embedder_data.rows.eval_sets import EvalSet
from llm_embedder_data.rows.row_instructions import (
    INSTRUCTION_COLUMNS,
    KEY_INSTRUCTION,
    QUERY_INSTRUCTION,
)
from llm_embedder_data.rows.train_sets import TrainSet

# Rows that become Python strings at a time.
_BLOCK_ROWS = 1024


def rows_with_tokens(dataset: TrainSet | EvalSet | Corpus) -> NDArray[np.int64]:
    """Return the numbers of the rows whose tokens are in the table of a dataset, ascending.

    They are the kept rows and, of a training set, those that a policy drops: another policy needs
    no other table.
    """
    if isinstance(dataset, TrainSet) and dataset.token_rows is not None:
        return dataset.token_rows.numbers
    return dataset.kept


def train_blocks(train_set: TrainSet) -> Callable[[int], Iterator[RowBlock]]:
    """Return the blocks of a training set: texts ``query`` and ``key``, and selection's arrays."""
    columns = ["query", "query_id_int", "key", "teacher_scores", "first_same", "n_pos"]
    if train_set.n_instructed:
        columns += INSTRUCTION_COLUMNS
    arrow = train_set.rows.with_format("arrow", columns=columns)

    def blocks(first: int) -> Iterator[RowBlock]:
        for rows, table in _gathered(arrow, rows_with_tokens(train_set), first):
            candidates = candidates_of(table)
            keys = texts_of_lists(table.column("key"))
            ids = table.column("query_id_int").combine_chunks()
            arrays = {
                "query_id": pc.coalesce(ids, pa.array(rows)).to_numpy(),
                "n_pos": candidates.n_pos.astype(np.int32),
                "first_same": candidates.first_same,
            }
            if train_set.are_tokens_scored:
                arrays["scores"] = candidates.scores
            texts = {"query": table.column("query").to_pylist(), "key": keys}
            own = _own_instructions(table, candidates.n_keys)
            yield RowBlock(len(rows), texts, {"key": candidates.n_keys}, arrays, own)

    return blocks


def eval_blocks(eval_set: EvalSet) -> Callable[[int], Iterator[RowBlock]]:
    """Return the blocks of an eval set: texts ``query``, and ``key`` if there are keys to rank."""
    ranks = "key" in eval_set.rows.column_names
    columns = ["query", "key"] if ranks else ["query"]
    if eval_set.n_instructed:
        columns.append(QUERY_INSTRUCTION)
    arrow = eval_set.rows.with_format("arrow", columns=columns)

    def blocks(first: int) -> Iterator[RowBlock]:
        for rows, table in _gathered(arrow, eval_set.kept, first):
            texts, sizes = {"query": table.column("query").to_pylist()}, {}
            if ranks:
                keys = table.column("key").to_pylist()
                texts["key"] = [key for row_keys in keys for key in row_keys]
                sizes["key"] = np.fromiter(map(len, keys), np.int64, len(keys))
            yield RowBlock(len(rows), texts, sizes, instructions=_own_instructions(table))

    return blocks


def corpus_blocks(corpus: Corpus) -> Callable[[int], Iterator[RowBlock]]:
    """Return the blocks of a corpus: texts ``text``."""
    fields = [name for name in corpus.rows.column_names if name != "fault"]
    arrow = corpus.rows.with_format("arrow", columns=fields)

    def blocks(first: int) -> Iterator[RowBlock]:
        for rows, _ in _gathered(arrow, corpus.kept, first):
            yield RowBlock(len(rows), {"text": corpus.texts(rows)})

    return blocks


def _own_instructions(
    table: pa.Table, n_keys: NDArray[np.int64] | None = None
) -> dict[str, list[str | None]]:
    """Return the own instructions of rows' texts by column, if they were read.

    Args:
        table: the rows.
        n_keys: ``[n]``, keys of each row; None if keys have no instructions of their own.
    """
    own: dict[str, list[str | None]] = {}
    if QUERY_INSTRUCTION in table.column_names:
        own["query"] = table.column(QUERY_INSTRUCTION).to_pylist()
        if n_keys is not None:
            of_rows = table.column(KEY_INSTRUCTION).to_pylist()
            own["key"] = [
                instruction
                for instruction, n in zip(of_rows, n_keys.tolist(), strict=True)
                for _ in range(n)
            ]
    return own


def _gathered(
    arrow: datasets.Dataset, rows: NDArray[np.int64], first: int
) -> Iterator[tuple[NDArray[np.int64], pa.Table]]:
    for start in range(first, len(rows), _BLOCK_ROWS):
        yield from gathered(arrow, rows[start : start + _BLOCK_ROWS])
