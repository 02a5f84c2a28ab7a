"""Pairs of items that have the same key in some band."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray


class SameKeys:
    """Finds the items that other items share a key with.

    Args:
        keys: ``[n, n_bands]`` uint64.
    """

    def __init__(self, keys: NDArray[np.uint64]) -> None:
        self._order = np.argsort(keys, axis=0, kind="stable")
        self._sorted = np.take_along_axis(keys, self._order, axis=0)

    def pairs(self, keys: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return each pair once, ascending: the number of another item, and of one of ours.

        Args:
            keys: ``[m, n_bands]`` uint64, of the other items.
        """
        n = len(self._sorted)
        codes = [np.zeros(0, np.int64)]
        for band in range(keys.shape[1]):
            low = np.searchsorted(self._sorted[:, band], keys[:, band], "left")
            counts = np.searchsorted(self._sorted[:, band], keys[:, band], "right") - low
            other = np.repeat(np.arange(len(keys)), counts)
            within = np.arange(len(other)) - np.repeat(np.cumsum(counts) - counts, counts)
            codes.append(other * n + self._order[low[other] + within, band])
        both = np.unique(np.concatenate(codes))
        return both // max(n, 1), both % max(n, 1)


def pairs_of_one_key(
    keys: NDArray[np.uint64], is_done: Callable[[], NDArray[np.bool_]], n_pairs: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield the pairs of items that share a key, some at a time; a pair of two done ones is not.

    Args:
        keys: ``[n, n_bands]`` uint64.
        is_done: says of each item, ``[n]`` bool, whether no more partners are looked for.
        n_pairs: at a time, at most.
    """
    n = len(keys)
    waiting = np.zeros(0, np.int64)
    for codes in _codes(keys):
        waiting = np.concatenate([waiting, codes])
        while len(waiting) >= n_pairs:
            yield from _open_pairs(waiting[:n_pairs], n, is_done())
            waiting = waiting[n_pairs:]
    yield from _open_pairs(waiting, n, is_done())


# --------------------------------------------------------------------------------------------------


def _codes(keys: NDArray[np.uint64]) -> Iterator[NDArray[np.int64]]:
    """Yield the pairs of items that share a key, each once, as low * n + high."""
    n = len(keys)
    seen = np.zeros(0, np.int64)
    for band in range(keys.shape[1]):
        order = np.argsort(keys[:, band], kind="stable")
        of = keys[order, band]
        of_band = [seen]
        at, distance = np.arange(n - 1), 1
        while True:
            at = at[at + distance < n]
            # Items of one key lie together: without a partner here, there is none farther on.
            at = at[of[at] == of[at + distance]]
            if not len(at):
                break
            both = np.sort(np.stack([order[at], order[at + distance]]), axis=0)
            codes = both[0] * n + both[1]
            if len(seen):
                place = np.minimum(np.searchsorted(seen, codes), len(seen) - 1)
                codes = codes[seen[place] != codes]
            yield codes
            of_band.append(codes)
            distance += 1
        seen = np.sort(np.concatenate(of_band))


def _open_pairs(
    codes: NDArray[np.int64], n: int, done: NDArray[np.bool_]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    left, right = np.divmod(codes, max(n, 1))
    is_open = ~(done[left] & done[right])
    if is_open.any():
        yield left[is_open], right[is_open]
