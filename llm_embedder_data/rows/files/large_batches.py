"""Record batches merged before they are written, so that few of them make a cache file.

A file that is mapped takes some ten kilobytes of memory for each of its batches, however small they
are: with a batch for every thousand rows, that memory would grow with the rows.
"""

from __future__ import annotations

from types import TracebackType
from typing import IO, Any

import pyarrow as pa

# Merged up to this size; a larger batch is written as it is. An offset has 32 bits.
_MERGED_BYTES = 16 << 20


class LargeBatches:
    """Writes an Arrow stream of batches of some megabytes.

    Args:
        file: open for writing.
        schema: of all batches.
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
        """Write a batch, now or together with the next ones."""
        if self._waiting and self._n_bytes + batch.nbytes > _MERGED_BYTES:
            self._flush()
        self._waiting.append(batch)
        self._n_bytes += batch.nbytes

    def _flush(self) -> None:
        if self._waiting:
            for merged in pa.Table.from_batches(self._waiting).combine_chunks().to_batches():
                self._writer.write_batch(merged)
        self._waiting, self._n_bytes = [], 0
