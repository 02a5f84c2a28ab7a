"""Which keys of a row have the same text, without comparing all texts."""

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
        texts: of the keys of all rows, ``[n_keys]``.
        offsets: where each row's keys begin, ``[n_rows + 1]``.
        row_of_key: ``[n_keys]``.

    Returns:
        ``[n_keys]`` int32.
    """
    first_same = np.arange(len(texts)) - offsets[row_of_key]
    # Few rows have a text twice. Only compare the texts of rows in which two samples are equal.
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
    """Return what :func:`first_same_texts` does, of keys that are passages of a corpus.

    Args:
        first: ``[n_keys]``, the number of the first passage with the text of each.
        offsets: where each row's keys begin, ``[n_rows + 1]``.
        row_of_key: ``[n_keys]``.
    """
    order = np.lexsort((first, row_of_key))  # stable: of equal passages the first key comes first
    is_new = np.ones(len(order), bool)
    same_row = row_of_key[order][1:] == row_of_key[order][:-1]
    is_new[1:] = ~same_row | (first[order][1:] != first[order][:-1])
    places = np.empty(len(order), np.int64)
    places[order] = order[is_new][np.cumsum(is_new) - 1]
    return (places - offsets[row_of_key]).astype(np.int32)


def _samples(texts: pa.StringArray, row_of_key: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return a hash of each key's row, length, and 8 bytes from its start, middle and end.

    Equal texts of one row have equal samples, ``[n_keys]``. The reverse does not hold.
    """
    _, bounds, data = texts.buffers()
    ends = np.frombuffer(bounds, np.int32)[: len(texts) + 1].astype(np.int64)
    starts, lengths = ends[:-1], np.diff(ends)
    size = int(ends[-1])
    content = np.frombuffer(data, np.uint8)[:size] if size > 8 else _padded(data, size)
    words = np.ndarray(len(content) - 7, "<u8", content, strides=(1,))  # 8 bytes from each index
    # Mask the bytes after the end of a text shorter than 8 bytes.
    n_bits = np.minimum(lengths, 7).astype(np.uint64) * np.uint64(8)
    mask = np.where(lengths < 8, (np.uint64(1) << n_bits) - np.uint64(1), ~np.uint64(0))
    samples = hash_rows(0, row_of_key) + lengths.astype(np.uint64)
    last = np.maximum(lengths - 8, 0)
    for index in (starts, starts + last // 2, starts + last):
        inside = np.minimum(index, len(content) - 8)
        samples = mix(samples + (words[inside] >> (8 * (index - inside)).astype(np.uint64) & mask))
    return samples


def _padded(data: pa.Buffer | None, size: int) -> NDArray[np.uint8]:
    """Return up to 8 bytes, padded with zeros to 8."""
    content = np.zeros(8, np.uint8)
    content[:size] = np.frombuffer(data or b"", np.uint8)[:size]
    return content
