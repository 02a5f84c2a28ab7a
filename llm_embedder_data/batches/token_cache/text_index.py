"""Distinct texts by number, found by hash; on disk, so that memory does not grow with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.core.platforms import allocate

_LEAST_SLOTS = 1 << 12


class TextIndex:
    """A hash table: open addressing with linear probing. At most half of the slots are taken.

    Args:
        slots: ``[s]`` int64, s a power of 2: numbers plus one at the places that hashes lead to, 0
            where there is none.
        hashes: ``[n, 2]`` uint64, 128 bits of each text, in the order of their numbers.
    """

    def __init__(self, slots: NDArray[np.int64], hashes: NDArray[np.uint64]) -> None:
        self._slots, self._hashes = slots, hashes

    def __len__(self) -> int:
        return len(self._hashes)

    def find(self, hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The number of each text, ``[m]`` int64, -1 where it is not there.

        Args:
            hashes: ``[m, 2]``.
        """
        numbers = np.full(len(hashes), -1, np.int64)
        slot, todo = self._first_slot(hashes), np.arange(len(hashes))
        while len(todo):
            found = self._slots[slot[todo]] - 1
            todo, found = todo[found >= 0], found[found >= 0]
            same = (self._hashes[found] == hashes[todo]).all(axis=1)
            numbers[todo[same]] = found[same]
            todo = todo[~same]
            slot[todo] = self._next(slot[todo])
        return numbers

    def _first_slot(self, hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
        return (hashes[:, 0] & np.uint64(len(self._slots) - 1)).astype(np.int64)

    def _next(self, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        return (slots + 1) & (len(self._slots) - 1)


class GrowingTextIndex(TextIndex):
    """One that texts are added to, in two memory-mapped files, by one process.

    Args:
        folder: of ``slots.bin`` and ``hashes.bin``, which are made if they are not there.
        n_texts: in the index; what ``hashes.bin`` holds beyond, a killed process left.
    """

    def __init__(self, folder: Path, n_texts: int = 0) -> None:
        self._folder, self._n_texts = folder, n_texts
        self.close()
        self._make_slots(max(_LEAST_SLOTS, _slots_for(n_texts)))

    def __len__(self) -> int:
        return self._n_texts

    def add(self, hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Give the next numbers, ``[m]`` int64, to different texts that are not there."""
        numbers = np.arange(len(self), len(self) + len(hashes))
        n_slots = _slots_for(len(self) + len(hashes))
        if n_slots > len(self._slots):
            self._make_slots(n_slots)
        self._hashes[numbers] = hashes
        self._place(numbers)
        self._n_texts += len(hashes)
        return numbers

    def close(self) -> None:
        """Give the maps back: not every system deletes or resizes a file that is mapped."""
        self._slots, self._hashes = np.empty(0, np.int64), np.empty((0, 2), np.uint64)

    def _place(self, numbers: NDArray[np.int64]) -> None:
        slot, todo = self._first_slot(self._hashes[numbers]), np.arange(len(numbers))
        while len(todo):
            free = todo[self._slots[slot[todo]] == 0]
            self._slots[slot[free]] = numbers[free] + 1  # of several, the last one stays
            todo = todo[self._slots[slot[todo]] != numbers[todo] + 1]
            slot[todo] = self._next(slot[todo])

    def _make_slots(self, n_slots: int) -> None:
        """Slots anew, and room for half as many hashes."""
        slots, hashes = self._folder / "slots.bin", self._folder / "hashes.bin"
        self.close()
        slots.unlink(missing_ok=True)
        allocate(slots, 8 * n_slots)
        allocate(hashes, 8 * n_slots)
        self._slots = np.memmap(slots, np.int64, "r+").view(np.ndarray)
        self._hashes = np.memmap(hashes, np.uint64, "r+").view(np.ndarray).reshape(-1, 2)
        for start in range(0, len(self), 1 << 16):
            self._place(np.arange(start, min(start + (1 << 16), len(self))))


def _slots_for(n_texts: int) -> int:
    return 1 << (2 * n_texts).bit_length()
