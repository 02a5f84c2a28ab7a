"""Row numbers that take no memory: those of a large dataset lie in a file without a name."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# Up to so many numbers, a megabyte, are an array in memory.
_IN_MEMORY = 1 << 17

# Rows that are looked at at a time.
_ROWS_AT_ONCE = 1 << 14


def numbers_where(chosen: NDArray[np.bool_], folder: Path) -> NDArray[np.int64]:
    """The places at which ``chosen`` is true, ascending; read only.

    Args:
        chosen: ``[n]`` bool.
        folder: of the file, which nobody else sees and which goes with the last process that uses
            it. Where it cannot be written the numbers are in memory: eight bytes each.

    Returns:
        ``[chosen.sum()]`` int64.
    """
    n_chosen = int(np.count_nonzero(chosen))
    if n_chosen <= _IN_MEMORY:
        return np.flatnonzero(chosen)
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            for start in range(0, len(chosen), _ROWS_AT_ONCE):
                numbers = np.flatnonzero(chosen[start : start + _ROWS_AT_ONCE]) + start
                file.write(numbers.tobytes())
            file.flush()
            return np.asarray(np.memmap(file, np.int64, "r", shape=(n_chosen,)))
    except OSError:
        return np.flatnonzero(chosen)
