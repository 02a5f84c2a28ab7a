"""Finds pairs of items that have the same key in at least one band (see :mod:`.min_hashes`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray


class SameKeys:
    """An index of items by their keys, in which other items are looked up.

    Args:
        keys: ``[n, n_bands]`` uint64, the keys of the n items.
    """

    def __init__(self, keys: NDArray[np.uint64]) -> None:
        self._order = np.argsort(keys, axis=0, kind="stable")
        self._sorted = np.take_along_axis(keys, self._order, axis=0)

    def pairs(self, keys: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the pairs of (other item, item of this index) with a key in common, ascending.

        Args:
            keys: ``[m, n_bands]`` uint64, the keys of the other items.

        Returns:
            Two arrays ``[k]`` int64: numbers of the other items, and numbers of items of this
            index. No pair occurs twice.
        """
        n = len(self._sorted)
        codes = [np.zeros(0, np.int64)]  # of pairs: other * n + item
        for band in range(keys.shape[1]):
            first = np.searchsorted(self._sorted[:, band], keys[:, band], "left")
            counts = np.searchsorted(self._sorted[:, band], keys[:, band], "right") - first
            other = np.repeat(np.arange(len(keys)), counts)
            # 0, 1, 2, ... for each other item
            number = np.arange(len(other)) - np.repeat(np.cumsum(counts) - counts, counts)
            codes.append(other * n + self._order[first[other] + number, band])
        distinct = np.unique(np.concatenate(codes))
        return distinct // max(n, 1), distinct % max(n, 1)


def pairs_with_same_key(
    keys: NDArray[np.uint64], is_done: Callable[[], NDArray[np.bool_]], n_pairs: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield the pairs of items with a key in common, in blocks; no pair occurs twice.

    Pairs of two items that are both done are left out. Common keys make so many pairs that leaving
    these out decides how long a search takes.

    Args:
        keys: ``[n, n_bands]`` uint64, the keys of the n items.
        is_done: returns whether each item needs no more partners, ``[n]`` bool. It is called before
            each block, so that the caller can mark items between two blocks.
        n_pairs: the most pairs in a block.

    Yields:
        Two arrays ``[k]`` int64: the lower and the higher number of each pair.
    """
    n = len(keys)
    waiting = np.zeros(0, np.int64)
    for codes in _codes_of_pairs(keys):
        waiting = np.concatenate([waiting, codes])
        while len(waiting) >= n_pairs:
            yield from _open_pairs(waiting[:n_pairs], n, is_done())
            waiting = waiting[n_pairs:]
    yield from _open_pairs(waiting, n, is_done())


# --------------------------------------------------------------------------------------------------


def _codes_of_pairs(keys: NDArray[np.uint64]) -> Iterator[NDArray[np.int64]]:
    """Yield all pairs with a key in common, each once, as ``lower * n + higher``."""
    n = len(keys)
    seen = np.zeros(0, np.int64)  # codes of earlier bands, ascending
    for band in range(keys.shape[1]):
        order = np.argsort(keys[:, band], kind="stable")
        ascending = keys[order, band]
        codes_of_band = [seen]
        # Items with the same key are neighbours now: pair each with the next, the one after, ...
        position, distance = np.arange(n - 1), 1
        while True:
            position = position[position + distance < n]
            # An item whose key differs at this distance has no partner at a larger one.
            position = position[ascending[position] == ascending[position + distance]]
            if not len(position):
                break
            pairs = np.sort(np.stack([order[position], order[position + distance]]), axis=0)
            codes = pairs[0] * n + pairs[1]
            if len(seen):
                nearest = np.minimum(np.searchsorted(seen, codes), len(seen) - 1)
                codes = codes[seen[nearest] != codes]
            yield codes
            codes_of_band.append(codes)
            distance += 1
        seen = np.sort(np.concatenate(codes_of_band))


def _open_pairs(
    codes: NDArray[np.int64], n: int, is_done: NDArray[np.bool_]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield the pairs of which at least one item is not done, if there are any."""
    lower, higher = np.divmod(codes, max(n, 1))
    is_open = ~(is_done[lower] & is_done[higher])
    if is_open.any():
        yield lower[is_open], higher[is_open]
