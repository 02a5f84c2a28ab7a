"""Rows gathered from a memory-mapped dataset, also if their texts exceed 32-bit offsets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llm_embedder_data.core.hashing import text_ids
from llm_embedder_data.rows.passages.passages import Passages, flat_numbers
from llm_embedder_data.rows.source_rows.row_tables import RowTables

# Up to this size, texts are copied into one array.
_COPIED_BYTES = 256 << 20

# Bytes of text that become Python strings at a time.
_STRING_BYTES = 64 << 20


class GatheredKeys(Protocol):
    """The keys of gathered rows, by index into the keys of all rows end to end."""

    def at(self, indices: NDArray[np.int64]) -> list[str]:
        """Return the texts at some indices, ``[n]`` int64."""

    def ids(self, indices: NDArray[np.int64], texts: list[str] | None = None) -> NDArray[np.int64]:
        """Return the hashes of the texts at some indices, ``[n]`` int64.

        Args:
            indices: ``[n]`` int64.
            texts: those at the indices, if they are known.
        """


def gathered_keys(column: pa.ChunkedArray, passages: Passages | None) -> GatheredKeys:
    """Return the keys of gathered rows.

    Args:
        column: of lists of texts, or of numbers of passages; none of them null.
        passages: that keys are numbers of; None if they are texts.
    """
    return GatheredTexts(column) if passages is None else GatheredPassages(column, passages)


class GatheredPassages:
    """Keys that are numbers of passages: only the texts that are asked for are read.

    Args:
        column: of lists of numbers, none of them null.
        passages: that are numbered.
    """

    def __init__(self, column: pa.ChunkedArray, passages: Passages) -> None:
        self._numbers = np.concatenate([flat_numbers(chunk) for chunk in column.chunks])
        self._passages = passages

    def at(self, indices: NDArray[np.int64]) -> list[str]:
        return self._passages.texts(self._numbers[indices])

    def ids(self, indices: NDArray[np.int64], texts: list[str] | None = None) -> NDArray[np.int64]:
        return self._passages.text_ids(self._numbers[indices])


class GatheredTexts:
    """The texts of a list column of gathered rows, by index into all lists end to end.

    A small column is copied into one array. A large one stays mapped, and only the texts that
    are asked for are read.

    Args:
        column: of lists of strings, none of them null.
    """

    def __init__(self, column: pa.ChunkedArray) -> None:
        # The buffer size is known at once; nbytes has to look at every chunk.
        if column.get_total_buffer_size() <= _COPIED_BYTES or column.nbytes <= _COPIED_BYTES:
            self._parts = [column.combine_chunks().flatten()]
        else:
            self._parts = [chunk.flatten() for chunk in column.chunks]
        self._ends = np.cumsum([len(part) for part in self._parts])

    def at(self, indices: NDArray[np.int64]) -> list[str]:
        """Return the texts at some indices, ``[n]`` int64."""
        if len(self._parts) == 1:
            texts: list[str] = self._parts[0].take(pa.array(indices)).to_pylist()
            return texts
        parts = np.searchsorted(self._ends, indices, "right")
        starts = np.append(0, self._ends)
        return [
            self._parts[part][index - starts[part]].as_py()
            for part, index in zip(parts.tolist(), indices.tolist(), strict=True)
        ]

    def ids(self, indices: NDArray[np.int64], texts: list[str] | None = None) -> NDArray[np.int64]:
        """Return the hashes of the texts at some indices, ``[n]`` int64."""
        return text_ids(self.at(indices) if texts is None else texts)


def gathered(
    tables: RowTables, rows: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], pa.Table]]:
    """Yield rows in their order, in blocks of bounded size; a block has at least one row.

    Args:
        tables: of the dataset.
        rows: ``[n]`` int64, at least one.
    """
    table = tables.mapped(rows.tolist())
    if len(rows) > 1 and tables.n_bytes(table) > _STRING_BYTES:
        half = len(rows) // 2
        yield from gathered(tables, rows[:half])
        yield from gathered(tables, rows[half:])
    else:
        yield rows, tables.with_texts(table)


def texts_of_lists(column: pa.ChunkedArray) -> list[str]:
    """Return all texts of a column of lists, end to end."""
    return [text for chunk in column.chunks for text in pc.list_flatten(chunk).to_pylist()]


def files_of(rows: datasets.Dataset) -> list[str]:
    """Return the files that rows are mapped from."""
    return [file["filename"] for file in rows.cache_files]
