"""Statistics of the number of hard negatives per row."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class NegativesPerRow:
    """Counts rows by their number of hard negatives."""

    def __init__(self) -> None:
        self._n_rows = np.zeros(1, np.int64)  # number of rows with 0, 1, 2, ... negatives

    def add(self, n_negatives: NDArray[np.int32]) -> None:
        """Count n more rows.

        Args:
            n_negatives: ``[n]`` int32, number of negatives of each row.
        """
        counted = np.bincount(n_negatives, minlength=len(self._n_rows))
        counted[: len(self._n_rows)] += self._n_rows
        self._n_rows = counted

    def figures(self) -> dict[str, Any] | None:
        """Return the statistics in plain Python; None if no rows were counted.

        Returns:
            ``fewest``, ``median`` (of two middle values the lower) and ``most``, numbers of
            negatives in a row; and ``rows``: the number of rows by number of negatives, in ranges
            that double in width ("0", "1", "2-3", "4-7", ...). Ranges without a row are left out.
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
