"""A hash table on disk from texts to their numbers, so that memory does not grow with the texts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.core.platforms import allocate

_MIN_SLOTS = 1 << 12


class TextIndex:
    """Finds the number of a text by its hash.

    This is a hash table with open addressing and linear probing: a hash gives a slot, and if that
    is taken by another text, the next slot is tried. At most half of the slots are taken.

    Args:
        slots: ``[s]`` int64, where s is a power of 2. A taken slot holds the number of a text plus
            one; a free slot holds 0.
        hashes: ``[n, 2]`` uint64, a 128-bit hash of each text, in the order of the numbers.
    """

    def __init__(self, slots: NDArray[np.int64], hashes: NDArray[np.uint64]) -> None:
        self._slots, self._hashes = slots, hashes

    def __len__(self) -> int:
        return len(self._hashes)

    def find(self, hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return the number of each text, ``[m]`` int64; -1 for a text that is not in the table.

        Args:
            hashes: ``[m, 2]`` uint64, the hash of each text.
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
    """An index in two memory-mapped files, to which one process adds texts.

    Args:
        folder: folder of ``slots.bin`` and ``hashes.bin``, which are created if they do not exist.
        n_texts: number of texts in the index. ``hashes.bin`` may hold more, left by a process that
            was killed; they do not count.
    """

    def __init__(self, folder: Path, n_texts: int = 0) -> None:
        self._folder, self._n_texts = folder, n_texts
        self.close()
        self._make_slots(max(_MIN_SLOTS, _slots_for(n_texts)))

    def __len__(self) -> int:
        return self._n_texts

    def add(self, hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Add new texts, and return their numbers, ``[m]`` int64: the next ones in order.

        Args:
            hashes: ``[m, 2]`` uint64, hashes of distinct texts that are not in the index.
        """
        numbers = np.arange(len(self), len(self) + len(hashes))
        n_slots = _slots_for(len(self) + len(hashes))
        if n_slots > len(self._slots):
            self._make_slots(n_slots)
        self._hashes[numbers] = hashes
        self._fill_slots(numbers)
        self._n_texts += len(hashes)
        return numbers

    def close(self) -> None:
        """Unmap the files: some systems cannot delete or resize a mapped file."""
        self._slots, self._hashes = np.empty(0, np.int64), np.empty((0, 2), np.uint64)

    def _fill_slots(self, numbers: NDArray[np.int64]) -> None:
        """Enter texts whose hashes are stored already."""
        slot, todo = self._first_slot(self._hashes[numbers]), np.arange(len(numbers))
        while len(todo):
            free = todo[self._slots[slot[todo]] == 0]
            # If several texts want one slot, the last gets it; the others try their next slots.
            self._slots[slot[free]] = numbers[free] + 1
            todo = todo[self._slots[slot[todo]] != numbers[todo] + 1]
            slot[todo] = self._next(slot[todo])

    def _make_slots(self, n_slots: int) -> None:
        """Write a new slots file, and make room for half as many hashes."""
        slots, hashes = self._folder / "slots.bin", self._folder / "hashes.bin"
        self.close()
        slots.unlink(missing_ok=True)
        allocate(slots, 8 * n_slots)
        allocate(hashes, 8 * n_slots)
        self._slots = np.memmap(slots, np.int64, "r+").view(np.ndarray)
        self._hashes = np.memmap(hashes, np.uint64, "r+").view(np.ndarray).reshape(-1, 2)
        for start in range(0, len(self), 1 << 16):
            self._fill_slots(np.arange(start, min(start + (1 << 16), len(self))))


def _slots_for(n_texts: int) -> int:
    """Return a power of 2 above twice the number of texts."""
    return 1 << (2 * n_texts).bit_length()
