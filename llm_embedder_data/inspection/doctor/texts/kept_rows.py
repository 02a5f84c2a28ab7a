"""Reading the kept rows of a dataset in blocks, so that memory stays bounded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from llm_embedder_data.batches.groups.gathering import gathered
from llm_embedder_data.rows.corpora import Corpus
from llm_embedder_data.rows.eval_sets import EvalSet
from llm_embedder_data.rows.train_set import TrainSet

_BLOCK_ROWS = 8192


def tables_of_rows(
    train_set: TrainSet, columns: Sequence[str], rows: NDArray[np.int64] | None = None
) -> Iterator[tuple[NDArray[np.int64], pa.Table]]:
    """Yield (row numbers, table of these rows) for blocks of a training set's rows, in order.

    Args:
        train_set: the training set to read.
        columns: names of the columns to read.
        rows: ``[n]`` int64, numbers of the rows to read; None: all kept rows.
    """
    tables = train_set.tables(list(columns))
    for block in _blocks(train_set.kept if rows is None else rows):
        yield from gathered(tables, block)


def texts_of_queries(eval_set: EvalSet) -> Iterator[str]:
    """Yield the queries of an eval set's kept rows."""
    for block in _blocks(eval_set.kept):
        yield from eval_set.rows[block.tolist()]["query"]


def texts_of_passages(corpus: Corpus) -> Iterator[Sequence[str]]:
    """Yield the texts of a corpus's kept passages, a block at a time."""
    for block in _blocks(corpus.kept):
        yield corpus.texts(block)


def _blocks(rows: Sequence[int] | NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(rows), _BLOCK_ROWS):
        yield np.asarray(rows[start : start + _BLOCK_ROWS])
