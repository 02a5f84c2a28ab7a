"""Gathers rows from a memory-mapped dataset, even if their texts exceed Arrow's 32-bit offsets."""

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

# Columns of texts up to this size are copied into one array, which makes lookups fast.
_COPIED_BYTES = 256 << 20

# How many bytes of text are turned into Python strings at a time, to bound memory.
_STRING_BYTES = 64 << 20


class GatheredKeys(Protocol):
    """The keys of gathered rows. An index counts the keys of all rows, one row after another."""

    def at(self, indices: NDArray[np.int64]) -> list[str]:
        """Return the texts at some indices, ``[n]`` int64."""

    def ids(self, indices: NDArray[np.int64], texts: list[str] | None = None) -> NDArray[np.int64]:
        """Return the hashes of the texts at some indices, ``[n]`` int64.

        Args:
            indices: ``[n]`` int64.
            texts: the texts at these indices, if the caller has them already.
        """


def gathered_keys(column: pa.ChunkedArray, passages: Passages | None) -> GatheredKeys:
    """Return the keys of gathered rows.

    Args:
        column: a list per row, of texts or of passage numbers; no list is null.
        passages: the passages that the numbers refer to; None if the lists hold texts.
    """
    return GatheredTexts(column) if passages is None else GatheredPassages(column, passages)


class GatheredPassages:
    """Keys that are stored as passage numbers; only the requested texts are read.

    Args:
        column: a list of passage numbers per row; no list is null.
        passages: the passages that the numbers refer to.
    """

    def __init__(self, column: pa.ChunkedArray, passages: Passages) -> None:
        self._numbers = np.concatenate([flat_numbers(chunk) for chunk in column.chunks])
        self._passages = passages

    def at(self, indices: NDArray[np.int64]) -> list[str]:
        return self._passages.texts(self._numbers[indices])

    def ids(self, indices: NDArray[np.int64], texts: list[str] | None = None) -> NDArray[np.int64]:
        return self._passages.text_ids(self._numbers[indices])


class GatheredTexts:
    """Keys that are stored as texts. An index counts the texts of all rows, one row after another.

    A small column is copied into one array. A large column stays memory-mapped, and only the
    requested texts are read.

    Args:
        column: a list of strings per row; no list is null.
    """

    def __init__(self, column: pa.ChunkedArray) -> None:
        # Try the total buffer size first: it is cheap, while nbytes has to visit every chunk.
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
    """Yield rows in the given order, in blocks of bounded size.

    A block has at least one row, so a single huge row may exceed the bound.

    Args:
        tables: reads rows of the dataset.
        rows: ``[n]`` int64, row numbers; at least one.
    """
    table = tables.mapped(rows.tolist())
    if len(rows) > 1 and tables.n_bytes(table) > _STRING_BYTES:
        half = len(rows) // 2
        yield from gathered(tables, rows[:half])
        yield from gathered(tables, rows[half:])
    else:
        yield rows, tables.with_texts(table)


def texts_of_lists(column: pa.ChunkedArray) -> list[str]:
    """Return all texts of a column of lists as one list, row after row."""
    return [text for chunk in column.chunks for text in pc.list_flatten(chunk).to_pylist()]


def files_of(rows: datasets.Dataset) -> list[str]:
    """Return the files that rows are mapped from."""
    return [file["filename"] for file in rows.cache_files]
