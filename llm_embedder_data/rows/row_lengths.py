"""Estimates the lengths of rows without reading their texts."""

from __future__ import annotations

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llm_embedder_data.rows.passages.passages import Passages

# A token is assumed to have this many bytes when texts are truncated. Tokens are rarely longer.
_BYTES_PER_TOKEN = 5

_ROWS_AT_ONCE = 4096


def row_lengths(
    rows: datasets.Dataset,
    kept: NDArray[np.int64],
    *,
    group_size: int,
    query_max_length: int,
    key_max_length: int,
    passages: Passages | None = None,
) -> NDArray[np.float32]:
    """Estimate the bytes to which each row's texts are padded in a batch of similar rows.

    The estimate is the bytes of the query, plus ``group_size`` times the bytes of the longest key,
    each up to its maximum length. Only the offsets of texts are read, which takes about a second
    for a million rows of 30 keys.

    Args:
        rows: a dataset with columns of ``TRAIN_SCHEMA``.
        kept: the numbers of the rows to estimate, ``[n]`` int64.
        group_size: the number of keys per query.
        query_max_length: the maximum length of a query, in tokens.
        key_max_length: the maximum length of a key, in tokens.
        passages: the passages whose numbers are the keys; None if keys are texts.

    Returns:
        The estimated bytes of each kept row, ``[n]`` float32.
    """
    lengths = np.empty(len(rows), np.float32)
    end = 0
    for batch in rows.data.select(["query", "key"]).to_batches(max_chunksize=_ROWS_AT_ONCE):
        start, end = end, end + len(batch)
        keys = batch.column("key")
        n_keys = pc.fill_null(pc.list_value_length(keys), 0).to_numpy(zero_copy_only=False)
        has_keys = n_keys > 0  # reduceat cannot handle empty lists
        longest = np.zeros(len(batch), np.int64)
        longest[has_keys] = np.maximum.reduceat(
            _lengths(keys.flatten(), key_max_length, passages),
            (np.cumsum(n_keys) - n_keys)[has_keys],
        )
        queries = _lengths(batch.column("query"), query_max_length)
        lengths[start:end] = queries + group_size * longest
    return lengths[kept]


def _lengths(
    texts: pa.Array, max_length: int, passages: Passages | None = None
) -> NDArray[np.int64]:
    """Return the bytes of each text after truncation, estimated, ``[n]`` int64."""
    if passages is not None:
        in_bytes = passages.n_bytes(texts.to_numpy().astype(np.int64))
    else:
        in_bytes = pc.fill_null(pc.binary_length(texts), 0).to_numpy(zero_copy_only=False)
    lengths: NDArray[np.int64] = np.minimum(
        in_bytes.astype(np.int64), max_length * _BYTES_PER_TOKEN
    )
    return lengths
