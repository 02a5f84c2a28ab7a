"""Which rows each global batch of a pass holds.

Four numbers are involved:

- pass number: how many full passes over the dataset came before, counted from the start of the fit;
- block: the index of a global batch within its pass;
- position: an index into the row order, which is one fixed order of the dataset's rows (random, or
  file order). A "position in a global batch" is an index into that batch instead;
- row: the row number within the dataset.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.batches.plan.batch_windows import BatchWindows
from llm_embedder_data.batches.plan.row_shuffle import RowShuffle
from llm_embedder_data.core.hashing import stream_seed


class BlockRows:
    """Gives the rows of each block of a pass over a dataset.

    Each pass leaves out ``n mod global batch`` consecutive positions of the row order and deals the
    others into blocks at random. With ``rotate``, each pass leaves out the positions that follow
    those of the pass before. Methods take datasets by their index in ``names``.

    Args:
        names: names of the datasets.
        n_rows: ``[d]`` int64, number of rows of each dataset.
        global_batch: ``[d]`` int64, rows in one global batch of each dataset.
        num_replicas: number of data-parallel ranks.
        seed: seed of the run.
        rotate: leave out different rows in each pass, rather than the same ones.
        windows: deals the rows of each window anew; None leaves them as dealt at random.
        shuffle: the order in which a pass takes its rows.
    """

    def __init__(
        self,
        names: Sequence[str],
        n_rows: NDArray[np.int64],
        global_batch: NDArray[np.int64],
        *,
        num_replicas: int,
        seed: int,
        rotate: bool,
        windows: BatchWindows | None,
        shuffle: RowShuffle,
    ) -> None:
        self._names, self.n_rows, self.global_batch = names, n_rows, global_batch
        self._num_replicas, self._seed, self.rotate = num_replicas, seed, rotate
        self._windows, self._shuffle = windows, shuffle
        # A dataset smaller than one global batch, if it is repeated, makes one batch per pass.
        self.per_pass = np.maximum(n_rows // global_batch, 1)
        self._row_order = np.array(
            [stream_seed(seed, "row order", name) for name in names], np.uint64
        )

    def exchanging(
        self, dataset: int, block: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the blocks that exchange rows with each of ``[k]`` blocks of a pass.

        Returns:
            The first of these blocks, and the first one behind them, ``[k]`` int64 each. Without
            windows, a block exchanges rows with itself alone.
        """
        if self._windows is None:
            return block, block + 1
        return self._windows.bounds(block, int(self.per_pass[dataset]))

    def of(
        self,
        dataset: NDArray[np.int64],
        block: NDArray[np.int64],
        pass_number: NDArray[np.int64],
        rank: int | None,
    ) -> Sequence[NDArray[np.int64]] | NDArray[np.int64]:
        """Return a rank's rows of ``[k]`` blocks, or the whole blocks if rank is None.

        Without windows the result is one array, ``[k, largest share]``, where the largest
        share is that of the dataset with the largest batch. Ignore the end of a line whose dataset
        has a smaller share.
        """
        if self._windows is None:
            return self._dealt(dataset, block, pass_number, rank)
        asked = zip(dataset.tolist(), block.tolist(), pass_number.tolist(), strict=True)
        return [self._of_window(self._windows, *block_of, rank) for block_of in asked]

    def share(self, rank: int | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return a rank's share of each dataset's global batch: its start and its size.

        Both are ``[d]`` int64. If rank is None, the share is the whole global batch.
        """
        if rank is None:
            return np.zeros_like(self.global_batch), self.global_batch
        share = self.global_batch // self._num_replicas
        return rank * share, share

    def positions(self, dataset: NDArray[np.int64], rank: int | None) -> NDArray[np.int64]:
        """Return a rank's positions in a global batch of ``[k]`` datasets, ``[k, largest share]``.

        A smaller share is padded by repeating its last position.
        """
        start, size = (bound[dataset, None] for bound in self.share(rank))
        return start + np.minimum(np.arange(size.max()), size - 1)

    def _dealt(
        self,
        dataset: NDArray[np.int64],
        block: NDArray[np.int64],
        pass_number: NDArray[np.int64],
        rank: int | None,
    ) -> NDArray[np.int64]:
        """Return a rank's rows of ``[k]`` blocks, ``[k, largest share]``, without windows."""
        deal = np.array(
            [
                _deal_seed(self._seed, self._names[index], number)
                for index, number in zip(dataset.tolist(), pass_number.tolist(), strict=True)
            ],
            np.uint64,
        )
        positions = self.positions(dataset, rank)
        n_rows, global_batch = self.n_rows[dataset, None], self.global_batch[dataset, None]
        block, pass_number = block[:, None], pass_number[:, None]
        left_out = n_rows % global_batch
        # A dataset smaller than a global batch, with small_datasets="repeat", goes through its row
        # order again and again, so that all rows come equally often.
        repeated = n_rows < global_batch
        dealt = self._shuffle.dealt(
            np.where(repeated, 0, block * global_batch + positions),
            np.where(repeated, 1, n_rows - left_out),
            deal[:, None],
        )
        # Pass r leaves out the positions from left_out * r to left_out * (r + 1), modulo n_rows,
        # and begins behind them. Without rotation, every pass is like pass 0.
        rotation = pass_number if self.rotate else 0
        positions = np.where(
            repeated, pass_number * global_batch + positions, left_out * (rotation + 1) + dealt
        )
        return self._shuffle.rows(positions % n_rows, n_rows, self._row_order[dataset, None])

    def rows_at(self, dataset: int, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows of one dataset at ``[m]`` positions of its row order."""
        n_rows, row_order = self.n_rows[dataset], self._row_order[dataset]
        return self._shuffle.rows(positions, np.array(n_rows), np.array(row_order))

    def positions_of(self, dataset: int, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the positions of ``[m]`` rows of one dataset in its row order."""
        n_rows, row_order = self.n_rows[dataset], self._row_order[dataset]
        return self._shuffle.positions(rows, int(n_rows), int(row_order))

    def block_of(
        self, dataset: int, positions: NDArray[np.int64], pass_number: int
    ) -> NDArray[np.int64]:
        """Return the block of a pass that each of ``[m]`` positions is dealt into, as int64.

        The block is -1 for a position that the pass leaves out. With windows, the row at a position
        may end up in another block of the same window.

        Args:
            dataset: one with at least as many rows as a global batch.
            positions: ``[m]`` int64, positions in the dataset's row order.
            pass_number: the pass.
        """
        n_rows, global_batch = int(self.n_rows[dataset]), int(self.global_batch[dataset])
        n_left = n_rows % global_batch
        rotation = pass_number if self.rotate else 0
        dealt = (positions - n_left * (rotation + 1)) % n_rows  # the inverse of the sum in _dealt
        block = np.full(len(positions), -1, np.int64)
        held = dealt < n_rows - n_left
        deal = _deal_seed(self._seed, self._names[dataset], pass_number)
        block[held] = self._shuffle.undealt(dealt[held], n_rows - n_left, deal) // global_batch
        return block

    def _of_window(
        self, windows: BatchWindows, dataset: int, block: int, pass_number: int, rank: int | None
    ) -> NDArray[np.int64]:
        """Return a rank's rows of one block, dealt in its window."""

        def planned(blocks: NDArray[np.int64], *, whole: bool) -> NDArray[np.int64]:
            ones, of_rank = np.ones_like(blocks), None if whole else rank
            return self._dealt(dataset * ones, blocks, pass_number * ones, of_rank)

        start, size = self.share(rank)
        return windows.rows(
            self._names[dataset],
            pass_number,
            block,
            per_pass=int(self.per_pass[dataset]),
            positions=np.arange(start[dataset], start[dataset] + size[dataset]),
            planned=planned,
        )


@lru_cache(maxsize=4096)
def _deal_seed(seed: int, name: str, pass_number: int) -> int:
    """Return the seed by which one pass deals a dataset's rows into global batches."""
    return stream_seed(seed, "block order", name, pass_number)
