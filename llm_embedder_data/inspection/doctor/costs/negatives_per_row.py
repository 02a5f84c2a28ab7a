"""How many hard negatives the rows of a training set have."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class NegativesPerRow:
    """Counts rows by their number of hard negatives."""

    def __init__(self) -> None:
        self._n_rows = np.zeros(1, np.int64)  # of rows with 0, 1, 2, ... negatives

    def add(self, n_negatives: NDArray[np.int32]) -> None:
        """Count rows, given the number of negatives of each, ``[n]``."""
        counted = np.bincount(n_negatives, minlength=len(self._n_rows))
        counted[: len(self._n_rows)] += self._n_rows
        self._n_rows = counted

    def figures(self) -> dict[str, Any] | None:
        """Return the figures, in plain Python; None without rows.

        Returns:
            ``fewest``, ``median`` (the lower one of two) and ``most`` negatives of a row; and
            ``rows``: the number of rows by their negatives, in ranges that double in width ("0",
            "1", "2-3", "4-7", ...), without ranges that no row is in.
        """
        n_rows = int(self._n_rows.sum())
        if n_rows == 0:
            return None
        present = np.flatnonzero(self._n_rows)
        ranges: dict[str, int] = {}
        for number in present.tolist():
            low = 1 << (number.bit_length() - 1) if number else 0
            high = max(low, 2 * low - 1)
            label = str(low) if low == high else f"{low}-{high}"
            ranges[label] = ranges.get(label, 0) + int(self._n_rows[number])
        return {
            "fewest": int(present[0]),
            "median": int(np.searchsorted(self._n_rows.cumsum(), (n_rows + 1) // 2)),
            "most": int(present[-1]),
            "rows": ranges,
        }
