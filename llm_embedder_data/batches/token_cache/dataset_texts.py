"""Which data of a dataset goes into its token table: its texts, and arrays for selecting keys.

Each ``..._blocks`` function returns a function that takes the index of a first row, and yields the
rows from there on, block by block. So an interrupted build can be continued.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llm_embedder_data.batches.groups.gathering import gathered, texts_of_lists
from llm_embedder_data.batches.groups.selection import Candidates
from llm_embedder_data.batches.groups.training_groups import candidates_of
from llm_embedder_data.batches.token_cache.growing_table import RowBlock
from llm_embedder_data.rows.corpora import Corpus
from llm_embedder_data.rows.eval_sets import EvalSet
from llm_embedder_data.rows.passages.passages import Passages, flat_numbers
from llm_embedder_data.rows.source_rows.row_instructions import (
    INSTRUCTION_COLUMNS,
    KEY_INSTRUCTION,
    QUERY_INSTRUCTION,
)
from llm_embedder_data.rows.source_rows.row_tables import RowTables
from llm_embedder_data.rows.train_set import TrainSet

# How many rows are turned into Python strings at a time, to bound memory.
_BLOCK_ROWS = 1024


def rows_with_tokens(dataset: TrainSet | EvalSet | Corpus) -> NDArray[np.int64]:
    """Return the numbers of the rows whose tokens are in the table of a dataset, ascending.

    These are the kept rows and, for a training set, also the rows that a negative policy drops, so
    that a run with another policy can use the same table.
    """
    if isinstance(dataset, TrainSet) and dataset.token_rows is not None:
        return dataset.token_rows.numbers
    return dataset.kept


def holds_passages(train_set: TrainSet) -> bool:
    """Return whether the table stores each passage once and, for the rows, only passage numbers.

    Otherwise the table stores a text number for every key of every row. That is needed if rows
    bring key instructions of their own, because a key is tokenized together with its instruction.
    """
    if train_set.passages is None:
        return False
    if not train_set.n_instructed:
        return True
    own = train_set.rows.data.column(KEY_INSTRUCTION)
    return bool(own.null_count == len(own))


def n_rows_of(dataset: TrainSet | EvalSet | Corpus) -> int:
    """Return the number of rows in all blocks of a dataset; blocks of passages count as rows."""
    n_rows = len(rows_with_tokens(dataset))
    if isinstance(dataset, TrainSet) and dataset.passages is not None and holds_passages(dataset):
        n_rows += len(dataset.passages)
    return n_rows


def train_blocks(train_set: TrainSet) -> Callable[[int], Iterator[RowBlock]]:
    """Return the blocks of a training set: texts ``query`` and ``key``, arrays for selection."""
    if train_set.passages is not None and holds_passages(train_set):
        return _passage_blocks(train_set, train_set.passages)
    tables = train_set.tables(_train_columns(train_set))

    def blocks(first: int) -> Iterator[RowBlock]:
        for rows, table in _gathered(tables, rows_with_tokens(train_set), first):
            candidates = candidates_of(table)
            keys = texts_of_lists(table.column("key"))
            texts = {"query": table.column("query").to_pylist(), "key": keys}
            own = _own_instructions(table, candidates.n_keys)
            arrays = _selection_arrays(train_set, rows, table, candidates)
            yield RowBlock(len(rows), texts, {"key": candidates.n_keys}, arrays, own)

    return blocks


def _passage_blocks(train_set: TrainSet, passages: Passages) -> Callable[[int], Iterator[RowBlock]]:
    """Return the blocks of a training set whose keys are passage numbers: passages, then rows.

    The text column ``key`` holds each passage that a row refers to, once. The array ``passage``
    holds, for each key of each row, the index of its passage in that column.
    """
    tables = RowTables(train_set.rows, _train_columns(train_set))

    def blocks(first: int) -> Iterator[RowBlock]:
        is_named = _named_passages(train_set, len(passages))
        for start in range(first, len(passages), _BLOCK_ROWS):
            end = min(start + _BLOCK_ROWS, len(passages))
            named = passages.texts(start + np.flatnonzero(is_named[start:end]))
            yield RowBlock(end - start, {"key": named})
        place = np.cumsum(is_named, dtype=np.int32) - 1
        first_row = max(0, first - len(passages))
        for rows, table in _gathered(tables, rows_with_tokens(train_set), first_row):
            candidates = candidates_of(table)
            numbers = [flat_numbers(chunk) for chunk in table.column("key").chunks]
            arrays = _selection_arrays(train_set, rows, table, candidates)
            arrays["passage"] = place[np.concatenate(numbers)]
            texts = {"query": table.column("query").to_pylist()}
            own = _own_instructions(table)
            yield RowBlock(len(rows), texts, {"passage": candidates.n_keys}, arrays, own)

    return blocks


def _named_passages(train_set: TrainSet, n_passages: int) -> NDArray[np.bool_]:
    """Return whether each passage is a candidate of a row, ``[n_passages]``."""
    is_named = np.zeros(n_passages, bool)
    has_tokens = np.zeros(len(train_set.rows), bool)
    has_tokens[rows_with_tokens(train_set)] = True
    end = 0
    for batch in train_set.rows.data.select(["key"]).to_batches(max_chunksize=_BLOCK_ROWS):
        start, end = end, end + len(batch)
        keys = batch.column("key").filter(pa.array(has_tokens[start:end]))
        is_named[flat_numbers(keys)] = True
    return is_named


def _train_columns(train_set: TrainSet) -> list[str]:
    columns = ["query", "query_id_int", "key", "teacher_scores", "first_same", "n_pos"]
    return [*columns, *INSTRUCTION_COLUMNS] if train_set.n_instructed else columns


def _selection_arrays(
    train_set: TrainSet, rows: NDArray[np.int64], table: pa.Table, candidates: Candidates
) -> dict[str, NDArray[Any]]:
    ids = table.column("query_id_int").combine_chunks()
    arrays: dict[str, NDArray[Any]] = {
        "query_id": pc.coalesce(ids, pa.array(rows)).to_numpy(),
        "n_pos": candidates.n_pos.astype(np.int32),
        "first_same": candidates.first_same,
    }
    if train_set.are_tokens_scored:
        arrays["scores"] = candidates.scores
    return arrays


def eval_blocks(eval_set: EvalSet) -> Callable[[int], Iterator[RowBlock]]:
    """Return the blocks of an eval set: ``query``, and ``key`` if there are candidates to rank."""
    ranks = "key" in eval_set.rows.column_names
    columns = ["query", "key"] if ranks else ["query"]
    if eval_set.n_instructed:
        columns.append(QUERY_INSTRUCTION)
    tables = RowTables(eval_set.rows, columns)

    def blocks(first: int) -> Iterator[RowBlock]:
        for rows, table in _gathered(tables, eval_set.kept, first):
            texts, sizes = {"query": table.column("query").to_pylist()}, {}
            if ranks:
                keys = table.column("key").to_pylist()
                texts["key"] = [key for row_keys in keys for key in row_keys]
                sizes["key"] = np.fromiter(map(len, keys), np.int64, len(keys))
            yield RowBlock(len(rows), texts, sizes, instructions=_own_instructions(table))

    return blocks


def corpus_blocks(corpus: Corpus) -> Callable[[int], Iterator[RowBlock]]:
    """Return the blocks of a corpus, whose texts are in the column ``text``."""
    fields = [name for name in corpus.rows.column_names if name != "fault"]
    tables = RowTables(corpus.rows, fields)

    def blocks(first: int) -> Iterator[RowBlock]:
        for rows, _ in _gathered(tables, corpus.kept, first):
            yield RowBlock(len(rows), {"text": corpus.texts(rows)})

    return blocks


def _own_instructions(
    table: pa.Table, n_keys: NDArray[np.int64] | None = None
) -> dict[str, list[str | None]]:
    """Return the instructions that rows bring themselves, one for each text, by column.

    Empty if the instruction columns were not read.

    Args:
        table: the rows.
        n_keys: ``[n]``, number of keys of each row; None if there are no key instructions.
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
    tables: RowTables, rows: NDArray[np.int64], first: int
) -> Iterator[tuple[NDArray[np.int64], pa.Table]]:
    for start in range(first, len(rows), _BLOCK_ROWS):
        yield from gathered(tables, rows[start : start + _BLOCK_ROWS])
