"""The rows of files elsewhere by their numbers, with their texts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from llm_embedder_data.rows.streaming.piece_cache import PieceCache
from llm_embedder_data.rows.streaming.shard_pieces import Shard

# Pieces that a process fetches at the same time.
_AT_ONCE = 8

# Steps for which pieces are fetched ahead.
_STEPS_AHEAD = 16


class StreamedTexts:
    """Rows with their texts, fetched piece by piece.

    It can be pickled, and used after a fork.

    Args:
        shards: the files, in the order of the rows.
        cache: keeps pieces on this machine.
    """

    def __init__(self, shards: Sequence[Shard], cache: PieceCache) -> None:
        self._pieces = [(shard, number) for shard in shards for number in range(len(shard.pieces))]
        sizes = [shard.pieces[number].n_rows for shard, number in self._pieces]
        self._starts = np.append(0, np.cumsum(sizes))
        self.cache = cache
        self._threads: ThreadPoolExecutor | None = None
        self._owner = 0

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_threads": None, "_owner": 0}

    @property
    def n_bytes(self) -> int:
        """Bytes of all pieces, as they are fetched."""
        return sum(shard.pieces[number].n_bytes for shard, number in self._pieces)

    @property
    def steps_ahead(self) -> int:
        """How many steps before its batch is made to call :meth:`fetch_ahead`."""
        return _STEPS_AHEAD

    @property
    def n_pieces(self) -> int:
        """Parts that can be fetched alone."""
        return len(self._pieces)

    def __len__(self) -> int:
        """Rows of all pieces."""
        return int(self._starts[-1])

    def table(self, rows: Sequence[int], columns: Sequence[str]) -> pa.Table:
        """Return rows by their numbers, with some columns; waits until they are here.

        Raises:
            DataError: a piece cannot be fetched or kept, or a file has changed.
        """
        numbers = np.asarray(rows, np.int64)
        pieces = self._pieces_of(numbers)
        wanted = np.unique(pieces).tolist()
        if len(wanted) == 1:
            found = {wanted[0]: self._table(wanted[0])}
        else:
            found = dict(zip(wanted, self._pool().map(self._table, wanted), strict=True))
        tables = {piece: table.select(list(columns)) for piece, table in found.items()}
        # Slices of neighbours that follow each other in the files, so that a block is a few chunks.
        is_start = np.append(True, (np.diff(numbers) != 1) | (np.diff(pieces) != 0))
        starts = np.flatnonzero(is_start)
        lengths = np.diff(np.append(starts, len(numbers)))
        return pa.concat_tables(
            tables[pieces[start]].slice(int(numbers[start] - self._starts[pieces[start]]), length)
            for start, length in zip(starts.tolist(), lengths.tolist(), strict=True)
        )

    def fetch_ahead(self, rows: Sequence[int]) -> None:
        """Begin to fetch the pieces of rows that are asked for later; errors come only then."""
        for piece in np.unique(self._pieces_of(np.asarray(rows, np.int64))).tolist():
            self._pool().submit(self._fetch, piece).add_done_callback(_ignore_error)

    def _pieces_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.searchsorted(self._starts, rows, side="right") - 1

    def _table(self, piece: int) -> pa.Table:
        return self.cache.table(*self._pieces[piece])

    def _fetch(self, piece: int) -> None:
        self.cache.fetch(*self._pieces[piece])

    def _pool(self) -> ThreadPoolExecutor:
        if self._threads is None or self._owner != os.getpid():  # threads do not survive a fork
            self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="pieces")
            self._owner = os.getpid()
        return self._threads


def _ignore_error(future: Future[None]) -> None:
    future.exception()
