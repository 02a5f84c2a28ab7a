"""A check that memory-mapped files have not been cut off since they were mapped."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


class MappedFiles:
    """Memory-mapped files, with the length that each has when this object is made.

    Args:
        paths: the files. Deleted ones are skipped: their mapped content stays readable.
    """

    def __init__(self, paths: Iterable[str | Path]) -> None:
        self._files: list[tuple[str, int, int]] = []
        for path in paths:
            with suppress(OSError):
                state = os.stat(path)
                self._files.append((str(path), state.st_ino, state.st_size))

    def cut_off(self) -> str | None:
        """Return the first file that is shorter now, or None.

        Beyond its new end, a mapped file reads as zeros up to the end of the page, and further
        reads kill the process. A file that was deleted or replaced still reads as before.
        """
        for path, inode, size in self._files:
            try:
                state = os.stat(path)
            except OSError:
                continue
            if state.st_ino == inode and state.st_size < size:
                return path
        return None
