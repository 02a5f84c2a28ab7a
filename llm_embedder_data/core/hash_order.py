"""Sorts 64-bit hashes part by part, so that memory does not grow with their number."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

_SORTED_AT_ONCE = 1 << 21


def in_order(
    hashes: NDArray[np.uint64],
) -> Iterator[tuple[NDArray[np.uint64], NDArray[np.int64]]]:
    """Yield the hashes in ascending order, part by part, with their indices in ``hashes``.

    Equal hashes are in the same part, in the order of their indices. A part has a bounded size if
    the hashes are evenly distributed.
    """
    n_parts = 1 + len(hashes) // _SORTED_AT_ONCE
    for part in range(n_parts):
        low, high = (np.uint64(max(0, (n << 64) // n_parts - 1)) for n in (part, part + 1))
        # A part excludes its lower bound and includes its upper one. Only the first includes both.
        inside = hashes <= high if part == 0 else (hashes > low) & (hashes <= high)
        numbers = np.flatnonzero(inside)
        own = hashes[numbers]
        order = np.argsort(own, kind="stable")
        yield own[order], numbers[order]


def runs(ascending: NDArray[np.uint64]) -> Iterator[range]:
    """Yield the index range of each value that occurs at least twice."""
    is_repeat = np.append(False, ascending[1:] == ascending[:-1])
    starts = np.flatnonzero(np.append(is_repeat[1:], False) & ~is_repeat)
    ends = np.append(np.flatnonzero(~is_repeat), len(ascending))
    for start in starts.tolist():
        yield range(start, int(ends[np.searchsorted(ends, start, "right")]))
