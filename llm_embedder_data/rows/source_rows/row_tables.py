"""Returns rows of a dataset as Arrow tables, with texts in place of passage numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import datasets
import pyarrow as pa

from llm_embedder_data.rows.passages.passages import Passages, flat_numbers
from llm_embedder_data.rows.streaming.streamed_texts import StreamedTexts


class RowTables:
    """The rows of a dataset. Index it with row numbers to get a table.

    Args:
        rows: a memory-mapped dataset.
        columns: the columns of the tables.
        passages: the passages whose numbers are the keys; None if keys are texts.
        streamed: the rows with their texts, if ``rows`` lacks them because they are streamed; or
            None.
    """

    def __init__(
        self,
        rows: datasets.Dataset,
        columns: Sequence[str],
        passages: Passages | None = None,
        streamed: StreamedTexts | None = None,
    ) -> None:
        self._n_rows, self._columns = len(rows), list(columns)
        self._streamed = streamed if {"query", "key"} & {*columns} else None
        if self._streamed is None:
            self._arrow = rows.with_format("arrow", columns=self._columns)
        self._passages = passages if "key" in columns else None

    def __len__(self) -> int:
        return self._n_rows

    def __getitem__(self, rows: Sequence[int]) -> pa.Table:
        """Return some rows, with their texts."""
        return self.with_texts(self.mapped(rows))

    def mapped(self, rows: Sequence[int]) -> pa.Table:
        """Return some rows as they are stored, with passage numbers in place of passages' texts.

        Rows that are streamed are fetched, with their texts.
        """
        if self._streamed is not None:
            return self._streamed.table(rows, self._columns)
        if (
            rows
            and rows[-1] - rows[0] == len(rows) - 1
            and (isinstance(rows, range) or list(rows) == list(range(rows[0], rows[-1] + 1)))
        ):
            return self._arrow[rows[0] : rows[-1] + 1]  # a slice has fewer chunks: not one per row
        return self._arrow[list(rows)]

    def n_bytes(self, mapped: pa.Table) -> int:
        """Return the size in bytes of rows of :meth:`mapped`, including the texts of passages."""
        n_bytes = int(mapped.nbytes)
        if self._passages is not None:
            for chunk in mapped.column("key").chunks:
                n_bytes += int(self._passages.n_bytes(flat_numbers(chunk)).sum())
        return n_bytes

    def with_texts(self, mapped: pa.Table) -> pa.Table:
        """Return rows of :meth:`mapped` with texts in place of passage numbers."""
        if self._passages is None:
            return mapped
        at = mapped.schema.get_field_index("key")
        return mapped.set_column(at, "key", self._passages.lists(mapped.column("key")))

    def blocks(self, n_rows: int = 512) -> Iterator[pa.RecordBatch]:
        """Yield all rows in order, some at a time, with their texts."""
        for start in range(0, self._n_rows, n_rows):
            table = self[range(start, min(start + n_rows, self._n_rows))]
            yield from table.combine_chunks().to_batches()

    def columns(self, rows: Sequence[int]) -> dict[str, Any]:
        """Return some rows, with their texts, as lists of Python values by column."""
        found: dict[str, Any] = self[rows].to_pydict()
        return found
