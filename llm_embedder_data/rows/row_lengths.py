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
    group_size: int,
    query_max_length: int,
    key_max_length: int,
) -> NDArray[np.float32]:
    """Bytes to which each row's texts are padded, about, in a batch of rows like it.

    That is its query, and ``group_size`` keys as long as its longest; what is cut off counts
    little. Reads where texts begin and end, never a text: a second at most for a million rows of 30
    keys.

    Args:
        rows: columns of ``schema.TRAIN_SCHEMA``.
        kept: ``[n]`` int64, the numbers of the rows asked for.
        group_size: keys per query.
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
        some = n_keys > 0  # reduceat would misread an empty list
        longest = np.zeros(len(batch), np.int64)
        longest[some] = np.maximum.reduceat(
            _lengths(keys.flatten(), key_max_length), (np.cumsum(n_keys) - n_keys)[some]
        )
        queries = _lengths(batch.column("query"), query_max_length)
        lengths[start:end] = queries + group_size * longest
    return lengths[kept]


def _lengths(texts: pa.Array, max_length: int) -> NDArray[np.int64]:
    in_bytes = pc.fill_null(pc.binary_length(texts), 0).to_numpy(zero_copy_only=False)
    lengths: NDArray[np.int64] = np.minimum(
        in_bytes.astype(np.int64), max_length * _BYTES_PER_TOKEN
    )
    return lengths
