"""Moves rows that share a text into different global batches."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np
from numpy.typing import ArrayLike, NDArray

# How many batches to try for a row that has to move, and how many rows of each; and how many rows
# to try in all, so that texts too frequent to be separated do not take long.
_BATCHES_TRIED = 32
_ROWS_TRIED = 32
_LEAST_TRIED = 10_000
_TRIED_FOR_EACH = 16


class SharedTexts:
    """The texts that several rows of a dataset have in common.

    Only rows that share a text with another row take memory: 8 bytes for each text that they share,
    and 16 bytes for each row.

    Args:
        rows: ``[m]`` int64, row numbers. A row comes once for each of its texts, in any order.
        texts: ``[m]``, a number or hash for each of these texts, equal for equal texts.

    Attributes:
        most_rows: how many rows share the most frequent text; 1 if no text is shared.
    """

    def __init__(self, rows: ArrayLike, texts: ArrayLike) -> None:
        row, text = np.asarray(rows, np.int64), np.asarray(texts)
        several = _is_repeated(text)  # most texts stand in one row only
        _, number = np.unique(text[several], return_inverse=True)
        # A row may have a text twice, as query and as positive.
        pairs = np.unique(np.stack([row[several], number], axis=1), axis=0)
        n_rows = np.bincount(pairs[:, 1], minlength=1)
        pairs = pairs[n_rows[pairs[:, 1]] > 1]
        self.most_rows = max(1, int(n_rows.max()))
        self._rows, starts = np.unique(pairs[:, 0], return_index=True)
        self._starts = np.append(starts, len(pairs)).astype(np.int64)
        self._texts = np.ascontiguousarray(pairs[:, 1])

    def __len__(self) -> int:
        """Number of rows that share a text with another row."""
        return len(self._rows)

    def separated(self, planned: NDArray[np.int64]) -> NDArray[np.int64]:
        """Exchange rows between global batches, so that no batch has a text in two rows.

        Rows that share no text stay where they are, unless one has to give way. The result is a
        function of ``planned`` alone. If a text is in more rows than there are batches, or the
        texts are so entangled that no way is found, some batches still have a text in two rows.

        Costs O(rows that share texts) Python steps, at most a few microseconds each.

        Args:
            planned: ``[W, global batch]`` int64, the rows of W global batches.

        Returns:
            ``[W, global batch]`` int64, the same rows.
        """
        n_batches, global_batch = planned.shape
        slot, text = self._texts_of(planned.ravel())
        batch_and_text = slot // global_batch * (int(text.max(initial=0)) + 1) + text
        if n_batches == 1 or len(np.unique(batch_and_text)) == len(slot):
            return planned
        return _Exchanges(planned, slot, text).rows()

    def _texts_of(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the texts that several of ``[k]`` rows share.

        Returns:
            Index of the row and number of the text, ``[m]`` int64 each, ascending by row. Numbers
            count the shared texts of these rows.
        """
        at = np.searchsorted(self._rows, rows)
        found = np.flatnonzero(at < len(self._rows))
        found = found[self._rows[at[found]] == rows[found]]
        start, stop = self._starts[at[found]], self._starts[at[found] + 1]
        ends = np.cumsum(stop - start)
        within = np.arange(ends[-1] if len(ends) else 0) - np.repeat(
            ends - (stop - start), stop - start
        )
        index = np.repeat(found, stop - start)
        text = self._texts[np.repeat(start, stop - start) + within]
        _, number, n_rows = np.unique(text, return_inverse=True, return_counts=True)
        shared = n_rows[number] > 1
        _, number = np.unique(text[shared], return_inverse=True)
        return index[shared], number


class _Exchanges:
    """Exchanges rows between batches until no batch has a text in two rows.

    A set of batches is the bits of an integer: bit b is batch b. A slot is a position in the
    flattened batches.

    Args:
        planned: ``[W, global batch]`` int64, the rows of the batches.
        slot: ``[m]`` int64, ascending: slots of rows that share texts, once for each such text.
        text: ``[m]`` int64, these texts, numbered from 0.
    """

    def __init__(
        self, planned: NDArray[np.int64], slot: NDArray[np.int64], text: NDArray[np.int64]
    ) -> None:
        n_batches: int = planned.shape[0]
        self._global_batch: int = planned.shape[1]
        self._planned = planned
        self._rows = planned.ravel().copy()
        self._all = (1 << n_batches) - 1
        slots, self._starts = np.unique(slot, return_index=True)
        self._text = text
        # From here on, a "sharer" is a row that shares texts, by its index in these slots.
        self._slots: list[int] = slots.tolist()
        self._sharer_at = np.full(planned.size, -1)
        self._sharer_at[slots] = np.arange(len(slots))
        sharer = np.repeat(np.arange(len(slots)), np.diff(np.append(self._starts, len(slot))))

        # The first row of a batch that has a text stays, and the others have to move.
        batch_and_text = slot // self._global_batch * (int(text.max()) + 1) + text
        _, first = np.unique(batch_and_text, return_index=True)
        is_first = np.zeros(len(slot), bool)
        is_first[first] = True
        self._moves = np.zeros(len(slots), bool)
        self._moves[sharer[~is_first]] = True
        # Rows with frequent texts have the fewest batches to go to, so they move first.
        frequency = np.maximum.reduceat(np.bincount(text)[text], self._starts)
        order = np.argsort(-frequency, kind="stable")
        self._to_move: list[int] = order[self._moves[order]].tolist()

        self._by_text = np.argsort(text, kind="stable")
        self._text_starts = np.searchsorted(text[self._by_text], np.arange(int(text.max()) + 2))
        self._sharer_of_pair, self._slot_of_pair = sharer, slot
        self._with_text: dict[int, int] = {}
        self._tries_left = _LEAST_TRIED + _TRIED_FOR_EACH * len(self._to_move)

    def rows(self) -> NDArray[np.int64]:
        """Return the batches, ``[W, global batch]`` int64."""
        for sharer in self._to_move:
            self._move(sharer)
        return self._rows.reshape(self._planned.shape)

    def _move(self, sharer: int) -> None:
        """Move a row into a batch that holds none of its texts, in exchange for another row."""
        slot = self._slots[sharer]
        home = slot // self._global_batch
        taken = 0
        for text in self._texts(sharer):
            taken |= self._batches_with(text)
        allowed = self._all & ~taken
        if allowed >> home & 1:  # the row that it shared a text with has moved
            self._settle(sharer, slot)
            return
        for batch in islice(_from(allowed, home), _BATCHES_TRIED):
            other = self._movable(batch, home)
            if other is not None:
                self._rows[slot], self._rows[other] = self._rows[other], self._rows[slot]
                moved = int(self._sharer_at[other])
                self._sharer_at[slot] = -1
                if moved >= 0:
                    for text in self._texts(moved):
                        self._with_text[text] = self._batches_with(text) & ~(1 << batch)
                    self._settle(moved, slot)
                self._settle(sharer, other)
                return

    def _movable(self, batch: int, home: int) -> int | None:
        """Return the slot of a row of a batch that can move to ``home``; None if none is found."""
        start = batch * self._global_batch
        sharers = self._sharer_at[start : start + self._global_batch]
        if sharers.min() < 0:
            return start + int(sharers.argmin())  # a row that shares no text
        for at, sharer in enumerate(sharers[: min(_ROWS_TRIED, self._tries_left)].tolist()):
            self._tries_left -= 1
            if not self._moves[sharer] and not any(
                self._batches_with(text) >> home & 1 for text in self._texts(sharer)
            ):
                return start + at
        return None

    def _settle(self, sharer: int, slot: int) -> None:
        self._slots[sharer] = slot
        self._sharer_at[slot] = sharer
        self._moves[sharer] = False
        for text in self._texts(sharer):
            self._with_text[text] = self._batches_with(text) | 1 << slot // self._global_batch

    def _texts(self, sharer: int) -> list[int]:
        start = self._starts[sharer]
        stop = self._starts[sharer + 1] if sharer + 1 < len(self._starts) else len(self._text)
        texts: list[int] = self._text[start:stop].tolist()
        return texts

    def _batches_with(self, text: int) -> int:
        """Return the batches with a row that has a text and does not have to move."""
        if text not in self._with_text:
            pairs = self._by_text[self._text_starts[text] : self._text_starts[text + 1]]
            pairs = pairs[~self._moves[self._sharer_of_pair[pairs]]]
            batches = self._slot_of_pair[pairs] // self._global_batch
            self._with_text[text] = sum(1 << batch for batch in set(batches.tolist()))
        return self._with_text[text]


def _is_repeated(values: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Return whether each of ``[m]`` values comes several times, ``[m]`` bool."""
    ordered = np.sort(values)
    repeated = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    if not len(repeated):
        return np.zeros(len(values), bool)
    at = np.minimum(np.searchsorted(repeated, values), len(repeated) - 1)
    found: NDArray[np.bool_] = repeated[at] == values
    return found


def _next(batches: int, start: int) -> int:
    """Return the first batch of a non-empty set at or after ``start``, or else its first batch."""
    later = batches >> start
    if later:
        return start + (later & -later).bit_length() - 1
    return (batches & -batches).bit_length() - 1


def _from(batches: int, start: int) -> Iterator[int]:
    """Yield the batches of a set, beginning at ``start`` and wrapping around."""
    while batches:
        batch = _next(batches, start)
        batches &= ~(1 << batch)
        yield batch
