"""How long rows are, about, without a look at their text."""

from __future__ import annotations

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

# No text is cut off before so many bytes, but for those that one token a word spells out.
_BYTES_PER_TOKEN = 5


def row_lengths(
    rows: datasets.Dataset,
    kept: NDArray[np.int64],
    *,
    query_max_length: int,
    key_max_length: int,
) -> NDArray[np.float32]:
    """Bytes of each row's query and, on average, of one of its keys; what is cut off counts little.

    Reads where texts begin and end, never a text: a second at most for a million rows of 30 keys.

    Args:
        rows: columns of ``schema.TRAIN_SCHEMA``.
        kept: ``[n]`` int64, the numbers of the rows asked for.
        query_max_length: tokens.
        key_max_length: tokens.

    Returns:
        ``[n]`` float32.
    """
    lengths = np.empty(len(rows), np.float32)
    end = 0
    for batch in rows.data.select(["query", "key"]).to_batches():
        start, end = end, end + len(batch)
        keys = batch.column("key")
        n_keys = pc.fill_null(pc.list_value_length(keys), 0).to_numpy(zero_copy_only=False)
        ends = np.cumsum(n_keys)
        total = np.concatenate([[0], np.cumsum(_lengths(keys.flatten(), key_max_length))])
        of_keys = (total[ends] - total[ends - n_keys]) / np.maximum(n_keys, 1)
        lengths[start:end] = _lengths(batch.column("query"), query_max_length) + of_keys
    return lengths[kept]


def _lengths(texts: pa.Array, max_length: int) -> NDArray[np.int64]:
    in_bytes = pc.fill_null(pc.binary_length(texts), 0).to_numpy(zero_copy_only=False)
    lengths: NDArray[np.int64] = np.minimum(
        in_bytes.astype(np.int64), max_length * _BYTES_PER_TOKEN
    )
    return lengths
