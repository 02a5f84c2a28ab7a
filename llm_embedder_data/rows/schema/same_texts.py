"""Finds the keys of a row that have the same text, without comparing all texts."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from llm_embedder_data.core.hashing import hash_rows, mix


def first_same_texts(
    texts: pa.StringArray, offsets: NDArray[np.int64], row_of_key: NDArray[np.int64]
) -> NDArray[np.int32]:
    """Return, for each key, the index in its row of the first key with the same text.

    Args:
        texts: the keys of all rows, ``[n_keys]``.
        offsets: the index of each row's first key, then n_keys, ``[n_rows + 1]`` int64.
        row_of_key: ``[n_keys]`` int64.

    Returns:
        ``[n_keys]`` int32.
    """
    first_same = np.arange(len(texts)) - offsets[row_of_key]
    # Few rows hold a text twice, so compare only the texts of rows in which two samples are equal.
    samples = _samples(texts, row_of_key)
    in_order = np.sort(samples)
    repeated = in_order[1:][in_order[1:] == in_order[:-1]]
    if len(repeated):
        rows = np.unique(row_of_key[np.isin(samples, repeated)])
        keys = np.flatnonzero(np.isin(row_of_key, rows))
        encoded = texts.take(pa.array(keys)).dictionary_encode()
        codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        row_and_text = row_of_key[keys] * (len(encoded.dictionary) + 1) + codes
        _, first, inverse = np.unique(row_and_text, return_index=True, return_inverse=True)
        first_same[keys] = first_same[keys[first[inverse]]]
    return first_same.astype(np.int32)


def first_same_passages(
    first: NDArray[np.int64], offsets: NDArray[np.int64], row_of_key: NDArray[np.int64]
) -> NDArray[np.int32]:
    """Return what :func:`first_same_texts` does, for keys that are passages of a corpus.

    Args:
        first: for each key, the number of the first passage with the same text, ``[n_keys]`` int64.
        offsets: the index of each row's first key, then n_keys, ``[n_rows + 1]`` int64.
        row_of_key: ``[n_keys]`` int64.

    Returns:
        ``[n_keys]`` int32.
    """
    order = np.lexsort((first, row_of_key))  # stable: keys with equal texts stay in order
    is_new = np.ones(len(order), bool)
    same_row = row_of_key[order][1:] == row_of_key[order][:-1]
    is_new[1:] = ~same_row | (first[order][1:] != first[order][:-1])
    first_key = np.empty(len(order), np.int64)
    first_key[order] = order[is_new][np.cumsum(is_new) - 1]
    return (first_key - offsets[row_of_key]).astype(np.int32)


def _samples(texts: pa.StringArray, row_of_key: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return a hash of each key's row, length, and 8 bytes from its start, middle and end.

    Equal texts of a row have equal samples, but equal samples do not imply equal texts.

    Returns:
        ``[n_keys]`` uint64.
    """
    _, bounds, data = texts.buffers()
    ends = np.frombuffer(bounds, np.int32)[: len(texts) + 1].astype(np.int64)
    starts, lengths = ends[:-1], np.diff(ends)
    size = int(ends[-1])
    content = np.frombuffer(data, np.uint8)[:size] if size > 8 else _padded(data, size)
    words = np.ndarray(len(content) - 7, "<u8", content, strides=(1,))  # words[i]: 8 bytes from i
    # Mask the bytes after the end of texts shorter than 8 bytes.
    n_bits = np.minimum(lengths, 7).astype(np.uint64) * np.uint64(8)
    mask = np.where(lengths < 8, (np.uint64(1) << n_bits) - np.uint64(1), ~np.uint64(0))
    samples = hash_rows(0, row_of_key) + lengths.astype(np.uint64)
    last = np.maximum(lengths - 8, 0)
    for index in (starts, starts + last // 2, starts + last):
        inside = np.minimum(index, len(content) - 8)
        samples = mix(samples + (words[inside] >> (8 * (index - inside)).astype(np.uint64) & mask))
    return samples


def _padded(data: pa.Buffer | None, size: int) -> NDArray[np.uint8]:
    """Return the first ``size`` bytes, at most 8, padded with zeros to 8."""
    content = np.zeros(8, np.uint8)
    content[:size] = np.frombuffer(data or b"", np.uint8)[:size]
    return content
