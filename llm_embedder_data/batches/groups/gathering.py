"""Rows gathered from a memory-mapped dataset, whose texts may be more than 32-bit offsets reach."""

from __future__ import annotations

from collections.abc import Iterator

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

# Texts are copied into one array up to so many bytes.
_COPIED_BYTES = 256 << 20

# Texts of so many bytes are made into Python strings at a time.
_BLOCK_BYTES = 64 << 20


class GatheredTexts:
    """The texts of a list column of gathered rows, by their places in all lists end to end.

    Few texts are copied into one array; many stay where they are mapped, and only those that are
    asked for are read.

    Args:
        column: of lists of strings, none of them null.
    """

    def __init__(self, column: pa.ChunkedArray) -> None:
        # The size of the blocks that hold the chunks is known at once; that of the chunks is not.
        if column.get_total_buffer_size() <= _COPIED_BYTES or column.nbytes <= _COPIED_BYTES:
            self._parts = [column.combine_chunks().flatten()]
        else:
            self._parts = [chunk.flatten() for chunk in column.chunks]
        self._ends = np.cumsum([len(part) for part in self._parts])

    def at(self, places: NDArray[np.int64]) -> list[str]:
        """The texts at some places, ``[n]`` int64."""
        if len(self._parts) == 1:
            texts: list[str] = self._parts[0].take(pa.array(places)).to_pylist()
            return texts
        parts = np.searchsorted(self._ends, places, "right")
        starts = np.append(0, self._ends)
        return [
            self._parts[part][place - starts[part]].as_py()
            for part, place in zip(parts.tolist(), places.tolist(), strict=True)
        ]


def gathered(
    arrow: datasets.Dataset, rows: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], pa.Table]]:
    """Rows in their order, as many at a time as have some ten million bytes, or one.

    Args:
        arrow: in the Arrow format.
        rows: ``[n]`` int64, at least one.
    """
    table: pa.Table = arrow[rows.tolist()]
    # Only mapped so far. A table's own ``nbytes`` counts what lists point at, not more.
    if len(rows) > 1 and table.nbytes > _BLOCK_BYTES:
        half = len(rows) // 2
        yield from gathered(arrow, rows[:half])
        yield from gathered(arrow, rows[half:])
    else:
        yield rows, table


def texts_of_lists(column: pa.ChunkedArray) -> list[str]:
    """All texts of a column of lists, end to end."""
    return [text for chunk in column.chunks for text in pc.list_flatten(chunk).to_pylist()]
