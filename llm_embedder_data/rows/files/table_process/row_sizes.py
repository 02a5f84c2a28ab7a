"""Cuts batches into slices of limited size, by the bytes that each row takes in plain types."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llm_embedder_data.rows.files.table_process.plain_columns import (
    is_fixed_list,
    is_string_view,
    lengths,
    sides,
)
from llm_embedder_data.rows.files.table_process.table_messages import Unreadable

# The maximum size of a slice, unless a single row is larger.
SLICE_BYTES = 4 << 20
SLICE_ROWS = 8192

# The sizes of this many rows are computed at a time.
_WINDOW_ROWS = 65536

# The largest row, in bytes. The limit comes from the 32-bit offsets of plain lists and strings.
_LARGEST_ROW = 2**31 - 1


def sliced(batch: pa.RecordBatch, first_row: int) -> Iterator[pa.RecordBatch]:
    """Yield slices of a batch that take about :data:`SLICE_BYTES` in plain types, or are one row.

    Args:
        batch: columns of types that can become plain.
        first_row: the number of the batch's first row in the file, for messages.

    Raises:
        Unreadable: a row takes more than 2 GiB.
    """
    for first in range(0, batch.num_rows, _WINDOW_ROWS):
        window = batch.slice(first, _WINDOW_ROWS)
        sizes = np.full(len(window), 1, np.int64)
        for array in window.columns:
            sizes += _sizes(array)
        if sizes.max() > _LARGEST_ROW:
            row = int(np.argmax(sizes > _LARGEST_ROW))
            raise Unreadable(
                f"row {first_row + first + row} takes {sizes[row]:,} bytes (a row may take 2 GiB: "
                "shorten its texts, or take it out)"
            )
        ends = np.cumsum(sizes)
        start = 0
        while start < len(window):
            before = ends[start - 1] if start else 0
            end = int(np.searchsorted(ends, before + SLICE_BYTES, "right"))
            end = min(max(end, start + 1), start + SLICE_ROWS)
            yield window.slice(start, end - start)
            start = end


# --------------------------------------------------------------------------------------------------


def _sizes(array: pa.Array) -> NDArray[np.int64]:
    """Return the bytes that each value takes in its plain type, ``[n]`` int64."""
    types, found = pa.types, array.type
    valid = array.is_valid().to_numpy(zero_copy_only=False)
    if types.is_null(found) or not len(array):
        return np.zeros(len(array), np.int64)
    if types.is_dictionary(found):
        indices = array.indices.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
        sizes = _sizes(array.dictionary) if len(array.dictionary) else np.zeros(1, np.int64)
        coded: NDArray[np.int64] = np.where(valid, sizes[np.where(valid, indices, 0)], 0)
        return coded
    if types.is_list(found) or types.is_large_list(found) or is_fixed_list(found):
        ends = np.cumsum(lengths(array))
        total = np.append(0, np.cumsum(_sizes(array.flatten())))
        lists: NDArray[np.int64] = 4 + total[ends] - total[np.append(0, ends[:-1])]
        return lists
    if types.is_struct(found):
        fields: NDArray[np.int64] = sum(map(_sizes, sides(array)), np.zeros(len(array), np.int64))
        return fields
    if types.is_string(found) or types.is_large_string(found):
        texts: NDArray[np.int64] = pc.binary_length(array).fill_null(0).to_numpy().astype(np.int64)
        return 4 + texts
    if is_string_view(found):
        views = np.frombuffer(array.buffers()[1], np.int32)[::4]
        found_lengths = views[array.offset : array.offset + len(array)]
        return 4 + np.where(valid, found_lengths, 0).astype(np.int64)
    return np.full(len(array), 8, np.int64)
