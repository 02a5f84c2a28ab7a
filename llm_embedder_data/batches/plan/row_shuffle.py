"""In which order a pass takes the rows of a dataset: shuffled all together, or within windows.

With a shuffle window, rows that are close in training are also close in the files, so a reader of
remote files needs only a few parts of them at a time:

1. Cut the rows, in file order, into chunks of a sixteenth of the window.
2. Shuffle the chunks. Every 16 consecutive chunks form a window.
3. Shuffle the rows within each window.

So the rows of a window come from 16 random places of the dataset, and each pass has other windows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.batches.plan.permutation import permute, unpermute
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.core.hashing import stream_seed, stream_seeds

CHUNKS = 16  # chunks per window


class RowShuffle:
    """Orders the rows of a pass by two mappings.

    The deal maps 0, 1, 2, ... (the rows of a pass as they are trained on) to positions, and is
    different in each pass. The row order maps positions to rows, and is the same in all passes.
    Without a window both are random. With a window, the row order is file order.

    Args:
        window: number of rows that are shuffled together, at least 16; None shuffles all rows of a
            dataset together.

    Raises:
        ConfigError: ``window`` is below 16.
    """

    def __init__(self, window: int | None) -> None:
        if window is not None and window < CHUNKS:
            raise ConfigError(
                f"data.shuffle_window={window}: expected at least {CHUNKS} rows, or null"
            )
        self.window = window
        self._chunk = 0 if window is None else -(-window // CHUNKS)

    def rows(
        self, positions: NDArray[np.int64], n: NDArray[np.int64], seed: NDArray[np.uint64]
    ) -> NDArray[np.int64]:
        """Return the row at each position of the row order; ``n`` and ``seed`` broadcast."""
        return permute(positions, n, seed) if self.window is None else positions

    def positions(self, rows: NDArray[np.int64], n: int, seed: int) -> NDArray[np.int64]:
        """Return the position of each row in the row order."""
        return unpermute(rows, n, seed) if self.window is None else rows

    def dealt(
        self, numbers: NDArray[np.int64], n: NDArray[np.int64], seed: NDArray[np.uint64]
    ) -> NDArray[np.int64]:
        """Return the image of each number under a permutation of ``range(n)``.

        Args:
            numbers: int64, of any shape, each in ``[0, n)``.
            n: int64, broadcasts to the shape of ``numbers``.
            seed: seed of the pass; broadcasts to the shape of ``numbers``.
        """
        if self.window is None:
            return permute(numbers, n, seed)
        images = self._through_windows(numbers, n, seed)
        # The last chunk may be incomplete, so an image may lie beyond the last row. It is mapped
        # again until it is a row: the cycle walking of permute().
        while (outside := images >= n).any():
            images[outside] = self._through_windows(
                images[outside],
                np.broadcast_to(n, images.shape)[outside],
                np.broadcast_to(seed, images.shape)[outside],
            )
        return images

    def undealt(self, images: NDArray[np.int64], n: int, seed: int) -> NDArray[np.int64]:
        """Return the numbers that :meth:`dealt` maps to ``images``, for one n and one seed."""
        if self.window is None:
            return unpermute(images, n, seed)
        numbers = self._back_through_windows(images, n, seed)
        while len(outside := np.flatnonzero(numbers >= n)):
            numbers[outside] = self._back_through_windows(numbers[outside], n, seed)
        return numbers

    def _through_windows(
        self, numbers: NDArray[np.int64], n: NDArray[np.int64], seed: NDArray[np.uint64]
    ) -> NDArray[np.int64]:
        """Return the images of numbers under a permutation of the rows of all whole chunks."""
        chunk, in_window = self._chunk, self._chunk * CHUNKS
        n_chunks = -(-n // chunk)
        window, within = np.divmod(numbers, in_window)
        size = np.minimum(in_window, n_chunks * chunk - window * in_window)
        slot, offset = np.divmod(permute(within, size, stream_seeds(seed, window + 1)), chunk)
        order = stream_seeds(seed, np.zeros(1, np.int64))
        return permute(window * CHUNKS + slot, n_chunks, order) * chunk + offset

    def _back_through_windows(
        self, images: NDArray[np.int64], n: int, seed: int
    ) -> NDArray[np.int64]:
        chunk, in_window = self._chunk, self._chunk * CHUNKS
        n_chunks = -(-n // chunk)
        number, offset = np.divmod(images, chunk)
        window, slot = np.divmod(unpermute(number, n_chunks, stream_seed(seed, 0)), CHUNKS)
        within = slot * chunk + offset
        for found in np.unique(window).tolist():
            here = window == found
            size = min(in_window, n_chunks * chunk - found * in_window)
            within[here] = unpermute(within[here], size, stream_seed(seed, found + 1))
        numbers: NDArray[np.int64] = window * in_window + within
        return numbers
