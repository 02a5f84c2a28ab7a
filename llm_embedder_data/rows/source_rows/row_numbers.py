"""Row numbers that take little memory: those of a large dataset are mapped from a cache file."""

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

# Up to this many row numbers, a megabyte, stay in memory.
_IN_MEMORY = 1 << 17

_ROWS_AT_ONCE = 1 << 14


def numbers_where(chosen: NDArray[np.bool_], folder: Path) -> NDArray[np.int64]:
    """Return the numbers of the chosen rows, ascending; do not change them.

    Args:
        chosen: whether each row is chosen, ``[n]`` bool.
        folder: the cache folder. The file is named by its content and shared by all processes. If
            it cannot be written, the numbers stay in memory, 8 bytes each.

    Returns:
        ``[chosen.sum()]`` int64. A mapped array is pickled as the path of its file, so that a
        spawned worker maps it again.

    Raises:
        DataError: the cache file was deleted just after it was found or written.
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
    """An array mapped from a file, and pickled as its path. Indexing returns plain arrays."""

    _path: Path | None = None

    @classmethod
    def of(cls, path: Path) -> _MappedNumbers:
        if not is_whole(path):
            raise DataError.at(
                str(path), "the cache was deleted while it was in use (start again to rebuild it)"
            )
        numbers = mapped(path).view(np.int64).view(cls)
        numbers._path = path
        return numbers

    def __getitem__(self, index: Any) -> Any:
        return self.view(np.ndarray)[index]

    def __reduce__(self) -> Any:
        if self._path is None:  # a result of arithmetic
            return np.asarray(self).__reduce__()
        return _MappedNumbers.of, (self._path,)
