"""A check that memory-mapped files have not been truncated since they were mapped."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


class MappedFiles:
    """Memory-mapped files, with the length that each had when this object was made.

    Args:
        paths: the files. Deleted files are skipped: their mapped content stays readable.
    """

    def __init__(self, paths: Iterable[str | Path]) -> None:
        self._files: list[tuple[str, int, int]] = []
        for path in paths:
            with suppress(OSError):
                state = os.stat(path)
                self._files.append((str(path), state.st_ino, state.st_size))

    def cut_off(self) -> str | None:
        """Return the first file that has been truncated, or None.

        Reading a truncated file through its map is dangerous: up to the end of the page it gives
        zeros, and beyond that it kills the process. A deleted or replaced file reads as before.
        """
        for path, inode, size in self._files:
            try:
                state = os.stat(path)
            except OSError:
                continue
            if state.st_ino == inode and state.st_size < size:
                return path
        return None
