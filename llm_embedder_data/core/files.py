"""Files that appear whole or not at all, and one process at a time.

Locks save work here and never stand for correctness: file systems without them, and those whose
locks other machines do not see, are met on every cluster. What is right without them is the rename.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO
from uuid import uuid4

from filelock import FileLock, Timeout

from llm_embedder_data.core.platforms import hold, is_held, replace, sync, sync_folder

# A part that nobody holds is deleted when nothing was written to it for so long, seconds: its
# writer may be on a machine whose locks are not seen here. Where there are no locks, a day.
_QUIET = 120.0
_QUIET_WITHOUT_LOCKS = 86400.0

_log = logging.getLogger(__name__)
_PART = re.compile(r".+\.[0-9a-f]{32}\.part")

# When this process last looked for abandoned parts, by folder, seconds: a folder of thousands of
# files is not gone through for each of them.
_looked_at: dict[Path, float] = {}


@contextmanager
def atomic_file(
    path: Path, *, is_the_same: Callable[[Path], bool] = lambda path: False
) -> Iterator[IO[bytes]]:
    """A binary file to write, which appears under its name when the block ends without an error.

    It is on the disk before it has its name, and the name is there when the block has ended: what
    a machine that lost its power finds under the name is whole. Until then it is
    ``<name>.<random>.part`` beside it. An error deletes the part; a killed process leaves it, and a
    later ``atomic_file`` in the same folder deletes what such processes left. Whoever writes for
    long must write something every minute.

    Args:
        path: of the file; its folder exists. A file of that name is replaced.
        is_the_same: whether a file is as good as the one written, where it cannot be replaced; see
            :func:`~llm_embedder_data.core.platforms.replace`.

    Raises:
        OSError: the folder cannot be written, the disk is full, or a folder has that name.
    """
    make_way(path)
    # Not by tempfile, whose files no other user of a shared folder may read.
    part = path.with_name(f"{path.name}.{uuid4().hex}.part")
    try:
        with open(part, "xb") as file:
            hold(file)
            _delete_abandoned_parts(path.parent, now=os.fstat(file.fileno()).st_mtime)
            yield file
            sync(file)
        publish(part, path, is_the_same)
    finally:
        with suppress(OSError):  # it has its name, or it was never made
            os.unlink(part)


@contextmanager
def locked(path: Path, patience: float = 600.0) -> Iterator[None]:
    """One process at a time, so that only one does the work that all of them need.

    No more than that: after ``patience`` seconds, and where the folder has no locks or cannot be
    written, the block runs without. So it must begin by asking whether the work was done, and end
    in an :func:`atomic_file`.

    Args:
        path: of the file to make; its folder exists.
        patience: seconds.
    """
    lock = FileLock(f"{path}.lock")
    with suppress(OSError, NotImplementedError):
        _acquire(lock, path, patience)
    try:
        yield
    finally:
        if lock.is_locked:
            # Whoever waits holds the lock of a file without a name next, beside a newcomer: both
            # find the work done.
            with suppress(OSError):
                os.unlink(lock.lock_file)
            lock.release()


def publish(part: Path, path: Path, is_the_same: Callable[[Path], bool]) -> None:
    """Give a file that is on the disk its name, and return when that is there too.

    Raises:
        OSError: the folder cannot be written, or a folder has that name.
    """
    replace(part, path, is_the_same)
    sync_folder(path.parent)


def make_way(path: Path) -> None:
    """Take an empty folder away that has the name of a file to be written.

    Raises:
        IsADirectoryError: it is not empty.
    """
    if path.is_dir() and not path.is_symlink():
        try:
            path.rmdir()
        except OSError as error:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path)) from error


class MappedFiles:
    """Files whose content is mapped into memory, each as long as it is when this is made.

    Args:
        paths: of the files; those that are deleted by now are as good as whole.
    """

    def __init__(self, paths: Iterable[str | Path]) -> None:
        self._files: list[tuple[str, int, int]] = []
        for path in paths:
            with suppress(OSError):
                state = os.stat(path)
                self._files.append((str(path), state.st_ino, state.st_size))

    def cut_off(self) -> str | None:
        """The first file that is shorter now; None where all are whole.

        Behind its end a mapped file reads as zeros to the end of the page, and only then ends the
        process. One that was deleted or replaced reads as before.
        """
        for path, inode, size in self._files:
            try:
                state = os.stat(path)
            except OSError:
                continue
            if state.st_ino == inode and state.st_size < size:
                return path
        return None


# --------------------------------------------------------------------------------------------------


def _acquire(lock: FileLock, path: Path, patience: float) -> None:
    try:
        lock.acquire(timeout=min(patience, 10.0))
    except Timeout:
        _log.warning("%s is being made by another process; waiting for it", path)
        try:
            lock.acquire(timeout=patience)
        except Timeout:
            _log.warning("%s is made here too: the other process is slow, or hangs", path)


def _delete_abandoned_parts(folder: Path, now: float) -> None:
    """``now`` is the file server's, by a file just made: the clocks of machines differ."""
    if time.monotonic() - _looked_at.get(folder, -_QUIET) < _QUIET:
        return
    _looked_at[folder] = time.monotonic()
    for part in folder.glob("*.part"):
        with suppress(OSError):  # another process is about the same, or it is another user's
            if _PART.fullmatch(part.name) and _is_abandoned(part, now - part.stat().st_mtime):
                part.unlink()


def _is_abandoned(part: Path, quiet: float) -> bool:
    if quiet < _QUIET:
        return False
    held = is_held(part)
    return quiet >= _QUIET_WITHOUT_LOCKS if held is None else not held
