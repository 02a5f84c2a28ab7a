"""Which rows of a training set have a query or a positive in common."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llm_embedder_data.batches.groups.gathering import gathered_keys
from llm_embedder_data.batches.plan.shared_texts import SharedTexts
from llm_embedder_data.core.hashing import text_ids
from llm_embedder_data.rows.train_set import TrainSet

# Rows have negatives too, which are looked up but not read, so their texts take little memory.
_ROWS_AT_ONCE = 1024


def shared_texts(train_set: TrainSet) -> SharedTexts:
    """Return the texts that several kept rows have as query or as labelled positive.

    Reads all queries and positives, about a second for 400,000 rows with one positive. Needs 32
    bytes a text for as long as it runs.

    Args:
        train_set: the training set to read; not a streamed one.

    Returns:
        The shared texts of rows that are numbered by their position among the kept rows.
    """
    tables = train_set.tables(["query", "key", "n_pos"])
    rows, texts = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for start in range(0, len(train_set.kept), _ROWS_AT_ONCE):
        kept = train_set.kept[start : start + _ROWS_AT_ONCE]
        table: pa.Table = tables.mapped(kept.tolist())
        row, positive = _positives(table)
        keys = gathered_keys(table.column("key"), train_set.passages)
        texts += [text_ids(table.column("query").to_pylist()), keys.ids(positive)]
        rows += [start + np.arange(len(kept)), start + row]
    return SharedTexts(np.concatenate(rows), np.concatenate(texts))


def _positives(table: pa.Table) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the row of each labelled positive, and its index among the keys of all rows."""
    n_pos = table.column("n_pos").to_numpy().astype(np.int64)
    n_keys = np.array(pc.list_value_length(table.column("key")), np.int64)
    row = np.repeat(np.arange(len(table)), n_pos)
    within = np.arange(len(row)) - np.repeat(np.cumsum(n_pos) - n_pos, n_pos)
    return row, (np.cumsum(n_keys) - n_keys)[row] + within
