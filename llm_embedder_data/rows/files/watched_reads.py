"""Reports how far files have been read, for a progress display."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# Called from any thread with a path, the number of bytes read so far, and the size of the file.
Watcher = Callable[[str, int, int], None]

# Global, not a context variable: sources are read in threads, which do not inherit the context.
_watchers: list[Watcher] = []


@contextmanager
def watching_reads(watcher: Watcher) -> Iterator[None]:
    """Call a function with the progress of each file that is opened inside the block.

    Files report while the digest of their content is computed, and while they are read; compressed
    files count the bytes on the disk. Tables, which another process reads, report the share of
    their rows or batches in bytes of the file.

    Args:
        watcher: called as ``watcher(path, n_bytes_read, n_bytes)``, from any thread.
    """
    _watchers.append(watcher)
    try:
        yield
    finally:
        _watchers.remove(watcher)


def opened_file(path: str) -> io.FileIO | None:
    """Open a file that reports how far it has been read; return None if there is no watcher.

    Raises:
        OSError: the file cannot be opened.
    """
    return _WatchedFile(path) if _watchers else None


def report_read(path: str, share: float) -> None:
    """Tell the watchers which share of a file, from 0 to 1, was read in another way.

    Raises:
        OSError: the file was deleted.
    """
    if _watchers:
        n_bytes = os.path.getsize(path)
        for watcher in tuple(_watchers):
            watcher(path, round(share * n_bytes), n_bytes)


class _WatchedFile(io.FileIO):
    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._path = path
        self._n_bytes = os.fstat(self.fileno()).st_size

    def readinto(self, buffer: Any, /) -> int:
        return self._report(super().readinto(buffer))

    def read(self, size: int | None = -1, /) -> bytes:
        content = super().read(-1 if size is None else size)
        self._report(len(content))
        return content

    def readall(self) -> bytes:
        content = super().readall()
        self._report(len(content))
        return content

    def _report(self, n_read: int) -> int:
        if n_read:
            position = min(self.tell(), self._n_bytes)
            for watcher in tuple(_watchers):
                watcher(self._path, position, self._n_bytes)
        return n_read
