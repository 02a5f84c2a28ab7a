"""Windows of several global batches, whose rows are dealt anew by length or by shared texts.

Batches of rows of similar length need less padding. Batches in which no text comes twice have no
false negatives among their own keys.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from llm_embedder_data.batches.plan.permutation import permute
from llm_embedder_data.batches.plan.shared_texts import SharedTexts
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.core.hashing import stream_seed, stream_seeds

# Cache windows of up to this many rows in all (8 MiB). The batches of a window are far apart
# in an epoch, and without the cache each of them would deal the whole window again.
_ROWS_KEPT = 1 << 20

# Rows that share texts are moved between this many global batches, up to twice as many. The more,
# the more frequent a text may be. The fewer, the faster a window is dealt.
_BATCHES_THAT_SEPARATE = 64


class Planned(Protocol):
    """Returns the rows of some blocks of a pass as they are before dealing."""

    def __call__(self, blocks: NDArray[np.int64], *, whole: bool) -> NDArray[np.int64]:
        """Return the rows of ``[w]`` blocks, ``[w, global batch]``, or the rank's, ``[w, m]``."""


class BatchWindows:
    """Deals the rows of each window anew.

    A window is several consecutive global batches of a pass over one dataset. First its rows are
    sorted by length, if lengths are given. Then rows that share a text are moved into different
    batches, if shared texts are given.

    Args:
        length_window: global batches in a window; the last window of a pass may have fewer. None
            ignores length. A pass is then divided evenly into windows of 64 to 127 batches, or is
            one window if it has fewer batches.
        lengths: ``[rows]``, the length of each row, by dataset name. Needed with ``length_window``.
        shared_texts: the texts that rows share, by dataset name; None leaves such rows together.
        sizes: number of rows, by dataset name.
        seed: seed of the run.

    Raises:
        ConfigError: ``length_window`` is below 2, or a dataset does not have one length per row.
    """

    def __init__(
        self,
        length_window: int | None,
        lengths: Mapping[str, ArrayLike],
        shared_texts: Mapping[str, SharedTexts] | None,
        sizes: Mapping[str, int],
        seed: int,
    ) -> None:
        self._size, self._seed = length_window, seed
        self._shared_texts = shared_texts or {}
        self._lengths: dict[str, NDArray[np.generic]] = {}
        if length_window is not None:
            self._lengths = _one_length_a_row(length_window, lengths, sizes)
        # Without lengths, only the exchanged rows of a window are kept, which are few, so that the
        # windows of a whole epoch fit into the cache.
        self._dealt_windows, self._exchanges = _RecentArrays(), _RecentArrays()

    def bounds(
        self, block: NDArray[np.int64], per_pass: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the first batch of the window of each of some batches, and the first one behind.

        Args:
            block: ``[k]`` int64, indices of global batches within a pass.
            per_pass: number of global batches in a pass.

        Returns:
            ``[k]`` int64 each.
        """
        if self._size is not None:
            start = block // self._size * self._size
            return start, np.minimum(start + self._size, per_pass)
        n_windows = max(1, per_pass // _BATCHES_THAT_SEPARATE)
        window = ((block + 1) * n_windows - 1) // per_pass  # window w begins at w * per_pass / n
        return window * per_pass // n_windows, (window + 1) * per_pass // n_windows

    def rows(
        self,
        name: str,
        pass_number: int,
        block: int,
        *,
        per_pass: int,
        positions: NDArray[np.int64],
        planned: Planned,
    ) -> NDArray[np.int64]:
        """Return some rows of a global batch, ``[m]`` int64.

        Costs O(rows of a window) time if the window was not dealt recently.

        Args:
            name: name of the dataset.
            pass_number: the pass over the dataset, counted from the start of the fit.
            block: index of the global batch within the pass.
            per_pass: number of global batches in a pass.
            positions: ``[m]`` int64, the consecutive positions in a global batch of this rank.
            planned: returns the rows of some blocks of the pass as they are before dealing.
        """
        [start], [stop] = self.bounds(np.array([block]), per_pass)
        blocks = np.arange(start, stop)
        if self._size is None:
            return self._exchanged(name, pass_number, block, blocks, positions, planned)
        request = (name, pass_number, int(start), int(positions[0]), len(positions))
        dealt = self._dealt_windows.get(request)
        if dealt is None:
            dealt = self._dealt(name, pass_number, planned(blocks, whole=True), int(start))[
                :, positions
            ]
            self._dealt_windows.put(request, dealt, dealt.size)
        rows: NDArray[np.int64] = dealt[block - start]
        return rows.copy()

    def _exchanged(
        self,
        name: str,
        pass_number: int,
        block: int,
        blocks: NDArray[np.int64],
        positions: NDArray[np.int64],
        planned: Planned,
    ) -> NDArray[np.int64]:
        """Return some rows of a global batch of a window in which rows are only exchanged."""
        rows: NDArray[np.int64] = planned(np.array([block]), whole=False)[0]
        shared = self._shared_texts.get(name)
        if shared is None or not len(shared):
            return rows
        request = (name, pass_number, int(blocks[0]))
        exchanges = self._exchanges.get(request)
        if exchanges is None:
            whole = planned(blocks, whole=True)
            separated = shared.separated(whole)
            batch, position = np.nonzero(separated != whole)
            exchanges = np.stack([blocks[batch], position, separated[batch, position]])
            self._exchanges.put(request, exchanges, exchanges.shape[1])
        batch, position, row = exchanges
        here = (batch == block) & (position >= positions[0]) & (position <= positions[-1])
        rows[position[here] - positions[0]] = row[here]
        return rows

    def _dealt(
        self, name: str, pass_number: int, planned: NDArray[np.int64], start: int
    ) -> NDArray[np.int64]:
        """Return the batches of a window, ``[W, global batch]``, whose first batch is ``start``."""
        if self._size is not None:
            window = start // self._size
            seed = stream_seed(self._seed, "length window", name, pass_number, window)
            planned = deal_by_length(planned, self._lengths[name][planned], seed)
        if name in self._shared_texts:
            planned = self._shared_texts[name].separated(planned)
        return planned


class _RecentArrays:
    """Arrays by request, of up to a number of rows in all; the least recently used go first."""

    def __init__(self) -> None:
        self._arrays: OrderedDict[tuple[str | int, ...], tuple[NDArray[np.int64], int]]
        self._arrays, self._n_rows = OrderedDict(), 0

    def get(self, request: tuple[str | int, ...]) -> NDArray[np.int64] | None:
        if request not in self._arrays:
            return None
        self._arrays.move_to_end(request)
        return self._arrays[request][0]

    def put(self, request: tuple[str | int, ...], array: NDArray[np.int64], n_rows: int) -> None:
        while self._arrays and self._n_rows + n_rows > _ROWS_KEPT:
            _, (_, n_left) = self._arrays.popitem(last=False)
            self._n_rows -= n_left
        self._arrays[request] = array, n_rows
        self._n_rows += n_rows


def deal_by_length(planned: NDArray[np.int64], lengths: ArrayLike, seed: int) -> NDArray[np.int64]:
    """Deal the rows of W global batches anew, so that each batch holds rows of similar length.

    Sort all rows by length (stable, so equal lengths keep their planned order) and cut them into W
    batches. Then shuffle the batches, so that training does not go from short to long, and the rows
    within each batch, so that no rank always gets the longest rows.

    Args:
        planned: ``[W, global batch]`` int64, the rows of the global batches.
        lengths: ``[W, global batch]``, the lengths of these rows.
        seed: from :func:`~llm_embedder_data.core.hashing.stream_seed`.

    Returns:
        ``[W, global batch]`` int64, the rows of the new batches.

    >>> import numpy as np
    >>> rows = np.arange(6).reshape(3, 2)
    >>> deal_by_length(rows, [[5, 1], [9, 5], [1, 9]], seed=1).tolist()
    [[0, 3], [2, 5], [1, 4]]
    """
    n_batches, global_batch = planned.shape
    order = np.argsort(np.ravel(lengths), kind="stable")
    batches = planned.ravel()[order].reshape(planned.shape)
    batch_order = permute(np.arange(n_batches), n_batches, stream_seed(seed, "turns"))
    seeds = stream_seeds(np.array([seed], np.uint64), np.arange(n_batches))
    positions = np.broadcast_to(np.arange(global_batch), planned.shape)
    within = permute(positions, global_batch, seeds[:, None])
    dealt: NDArray[np.int64] = batches[batch_order[:, None], within]
    return dealt


def _one_length_a_row(
    length_window: int, lengths: Mapping[str, ArrayLike], sizes: Mapping[str, int]
) -> dict[str, NDArray[np.generic]]:
    if length_window < 2:
        raise ConfigError(
            f"data.length_window={length_window}: expected at least 2 global batches, or null"
        )
    arrays = {name: np.asarray(lengths.get(name)) for name in sizes}
    for name, n_rows in sizes.items():
        if arrays[name].shape != (n_rows,):
            raise ConfigError(
                f"data.length_window={length_window}: the lengths of dataset {name!r} have the "
                f"shape {arrays[name].shape}, expected {(n_rows,)} (give one length per row)"
            )
    return arrays
