"""Returns rows of remote files by number, with their texts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from llm_embedder_data.rows.streaming.daemon_threads import DaemonThreads
from llm_embedder_data.rows.streaming.piece_cache import PieceCache
from llm_embedder_data.rows.streaming.shard_pieces import Shard

# The pieces of a step are requested this many steps before its batch is made.
STEPS_AHEAD = 16

# The number of pieces that a process fetches at the same time for the current batch; as many more
# are fetched for later batches.
_AT_ONCE = 8


class StreamedTexts:
    """Rows with their texts, fetched piece by piece.

    The object can be pickled, and used after a fork.

    Args:
        shards: the files, in the order of the rows.
        cache: fetches pieces, and keeps them on this machine.
    """

    def __init__(self, shards: Sequence[Shard], cache: PieceCache) -> None:
        self._pieces = [(shard, number) for shard in shards for number in range(len(shard.pieces))]
        sizes = [shard.pieces[number].n_rows for shard, number in self._pieces]
        self._starts = np.append(0, np.cumsum(sizes))
        self._decoded_bytes = sum(shard.decoded_bytes for shard in shards)
        self.cache = cache
        self._now, self._later = DaemonThreads(_AT_ONCE), DaemonThreads(_AT_ONCE)
        self._asked_ahead: set[int] = set()

    @property
    def n_bytes(self) -> int:
        """The size in bytes of all pieces as they are fetched."""
        return sum(shard.pieces[number].n_bytes for shard, number in self._pieces)

    @property
    def decoded_bytes(self) -> int:
        """The size in bytes of all pieces as they are kept on this machine."""
        return self._decoded_bytes

    @property
    def n_pieces(self) -> int:
        """The number of pieces."""
        return len(self._pieces)

    def __len__(self) -> int:
        """The number of rows in all pieces."""
        return int(self._starts[-1])

    def table(self, rows: Sequence[int], columns: Sequence[str]) -> pa.Table:
        """Return rows with some columns; wait until their pieces are fetched.

        Args:
            rows: the numbers of the rows, in any order.
            columns: the names of the columns.

        Raises:
            DataError: a piece cannot be fetched or kept, or a file has changed.
        """
        numbers = np.asarray(rows, np.int64)
        if not len(numbers):
            return self._pieces[0][0].kind.schema.empty_table().select(list(columns))
        pieces = self._pieces_of(numbers)
        found = self._tables(np.unique(pieces).tolist())
        tables = {piece: table.select(list(columns)) for piece, table in found.items()}
        # Take consecutive rows of a piece as one slice, so that the table has few chunks.
        is_start = np.append(True, (np.diff(numbers) != 1) | (np.diff(pieces) != 0))
        starts = np.flatnonzero(is_start)
        lengths = np.diff(np.append(starts, len(numbers)))
        return pa.concat_tables(
            tables[pieces[start]].slice(int(numbers[start] - self._starts[pieces[start]]), length)
            for start, length in zip(starts.tolist(), lengths.tolist(), strict=True)
        )

    def fetch_ahead(self, rows: Sequence[int]) -> None:
        """Begin to fetch the pieces of rows that will be needed later.

        Failures are ignored, because :meth:`table` tries again and raises an error.
        """
        for piece in np.unique(self._pieces_of(np.asarray(rows, np.int64))).tolist():
            if piece not in self._asked_ahead:
                self._asked_ahead.add(piece)
                self._later.submit(self._fetch_ahead, piece)

    def _pieces_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.searchsorted(self._starts, rows, side="right") - 1

    def _tables(self, pieces: Sequence[int]) -> dict[int, pa.Table]:
        """Return pieces by number; missing pieces are fetched at the same time."""
        found = {piece: self.cache.table_at_hand(*self._pieces[piece]) for piece in pieces}
        waiting = {
            piece: self._now.submit(self._table, piece)
            for piece, table in found.items()
            if table is None
        }
        return found | {piece: future.result() for piece, future in waiting.items()}

    def _table(self, piece: int) -> pa.Table:
        return self.cache.table(*self._pieces[piece])

    def _fetch_ahead(self, piece: int) -> None:
        try:
            self.cache.table(*self._pieces[piece])
        finally:
            self._asked_ahead.discard(piece)
