"""Merges record batches before they are written, so that a cache file holds few of them.

A memory-mapped file takes about ten kilobytes of memory for each of its batches, however small the
batch is. With a batch per thousand rows, that memory would grow with the number of rows.
"""

from __future__ import annotations

from types import TracebackType
from typing import IO, Any

import pyarrow as pa

# Batches are merged up to this size; a larger batch is written unchanged. The size is far below
# 2 GiB, the limit of the 32-bit offsets of Arrow's strings and lists.
_MERGED_BYTES = 16 << 20


class LargeBatches:
    """Writes an Arrow stream of batches of some megabytes.

    Use it as a context manager. If the block raises, batches that wait to be merged are dropped.

    Args:
        file: a binary file that is open for writing.
        schema: the schema of all batches.
    """

    def __init__(self, file: IO[bytes] | Any, schema: pa.Schema) -> None:
        self._writer = pa.ipc.new_stream(file, schema)
        self._waiting: list[pa.RecordBatch] = []
        self._n_bytes = 0

    def __enter__(self) -> LargeBatches:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self._flush()
        self._writer.close()

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Write a batch, either at once or later, merged with the next batches."""
        if self._waiting and self._n_bytes + batch.nbytes > _MERGED_BYTES:
            self._flush()
        self._waiting.append(batch)
        self._n_bytes += batch.nbytes

    def _flush(self) -> None:
        if self._waiting:
            for merged in pa.Table.from_batches(self._waiting).combine_chunks().to_batches():
                self._writer.write_batch(merged)
        self._waiting, self._n_bytes = [], 0
