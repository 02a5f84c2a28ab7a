"""How far the reading of files has come, for whoever wants to show it."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# Called from any thread with a path, the bytes of the file that were read, and all its bytes.
Watcher = Callable[[str, int, int], None]

# Of the process, and not of a context: sources are read in threads.
_watchers: list[Watcher] = []


@contextmanager
def watching_reads(watcher: Watcher) -> Iterator[None]:
    """Tell a function how far the files have come that are opened inside the block.

    Text files of any kind tell it while they are read, compressed ones by the bytes on the disk.
    Tables, which another process reads, tell nothing but the digest of their content.
    """
    _watchers.append(watcher)
    try:
        yield
    finally:
        _watchers.remove(watcher)


def opened_file(path: str) -> io.FileIO | None:
    """Return a file that tells how far it has been read; None if nobody watches.

    Raises:
        OSError: it cannot be opened.
    """
    return _WatchedFile(path) if _watchers else None


class _WatchedFile(io.FileIO):
    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._path = path
        self._n_bytes = os.fstat(self.fileno()).st_size

    def readinto(self, buffer: Any, /) -> int:
        return self._told(super().readinto(buffer))

    def read(self, size: int | None = -1, /) -> bytes:
        content = super().read(-1 if size is None else size)
        self._told(len(content))
        return content

    def readall(self) -> bytes:
        content = super().readall()
        self._told(len(content))
        return content

    def _told(self, n_read: int) -> int:
        if n_read:
            position = min(self.tell(), self._n_bytes)
            for watcher in tuple(_watchers):
                watcher(self._path, position, self._n_bytes)
        return n_read
