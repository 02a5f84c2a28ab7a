"""Row numbers that take no memory: those of a large dataset lie in a file of the cache."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.core.files import locked
from llm_embedder_data.core.sealed_files import is_whole, mapped, sealed_file

# Up to so many numbers, a megabyte, are an array in memory.
_IN_MEMORY = 1 << 17

# Rows that are looked at at a time.
_ROWS_AT_ONCE = 1 << 14


def numbers_where(chosen: NDArray[np.bool_], folder: Path) -> NDArray[np.int64]:
    """The places at which ``chosen`` is true, ascending; read only.

    Args:
        chosen: ``[n]`` bool.
        folder: of the file, which has its name by its content and is shared by all processes. Where
            it cannot be written the numbers are in memory: eight bytes each.

    Returns:
        ``[chosen.sum()]`` int64. Mapped numbers are pickled as the name of their file: a worker
        that is started by spawn opens it again.
    """
    n_chosen = int(np.count_nonzero(chosen))
    if n_chosen > _IN_MEMORY:
        with suppress(OSError):
            path = folder / f"{xxhash.xxh3_128_hexdigest(chosen.data)}.rows.bin"
            _write(path, chosen)
            return _MappedNumbers.of(path)
    return np.flatnonzero(chosen)


def _write(path: Path, chosen: NDArray[np.bool_]) -> None:
    if is_whole(path):
        return
    with locked(path):
        if is_whole(path):
            return
        with sealed_file(path) as file:
            for start in range(0, len(chosen), _ROWS_AT_ONCE):
                file.write(np.flatnonzero(chosen[start : start + _ROWS_AT_ONCE]) + start)


class _MappedNumbers(np.ndarray[Any, np.dtype[np.int64]]):
    """An array of a file; a pickle of it is the file's name. What is taken from it is an array."""

    _path: Path | None = None

    @classmethod
    def of(cls, path: Path) -> _MappedNumbers:
        if not is_whole(path):
            raise DataError.at(
                str(path), "the cache was deleted while it was in use (start again, which mends it)"
            )
        numbers = mapped(path).view(np.int64).view(cls)
        numbers._path = path
        return numbers

    def __getitem__(self, places: Any) -> Any:
        return self.view(np.ndarray)[places]

    def __reduce__(self) -> Any:
        if self._path is None:  # a result of arithmetic
            return np.asarray(self).__reduce__()
        return _MappedNumbers.of, (self._path,)
