"""Files that appear whole or not at all, and one process at a time.

Locks save work here and never stand for correctness: file systems without them, and those whose
locks other machines do not see, are met on every cluster. What is right without them is the rename.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO
from uuid import uuid4

from filelock import FileLock, Timeout

try:
    import fcntl
except ImportError:  # Windows, where nobody can delete a file that another has open
    fcntl = None  # type: ignore[assignment]

# A part that nobody holds is deleted when nothing was written to it for so long, seconds: its
# writer may be on a machine whose locks are not seen here. Where there are no locks, a day.
_QUIET = 120.0
_QUIET_WITHOUT_LOCKS = 86400.0

_log = logging.getLogger(__name__)
_PART = re.compile(r".+\.[0-9a-f]{32}\.part")

_SEAL = b"\x00whole\x00\x01"


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """A binary file to write, which appears under its name when the block ends without an error.

    Until then it is ``<name>.<random>.part`` beside it. An error deletes the part; a killed
    process leaves it, and a later ``atomic_file`` in the same folder deletes what such processes
    left. Whoever writes for long must write something every minute.

    Args:
        path: of the file; its folder exists. A file of that name is replaced.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
    """
    # Not by tempfile, whose files no other user of a shared folder may read.
    part = path.with_name(f"{path.name}.{uuid4().hex}.part")
    try:
        with open(part, "xb") as file:
            _hold(file)
            _delete_abandoned_parts(path.parent, now=os.fstat(file.fileno()).st_mtime)
            yield file
        os.replace(part, path)
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


def seal(file: IO[bytes]) -> None:
    """Write the end of a file by which :func:`is_whole` knows it; nothing comes after it."""
    length = file.tell()
    file.write(_SEAL + length.to_bytes(8, "little"))


def is_whole(path: Path) -> bool:
    """Whether a sealed file is there, and as long as it was; what it holds is not compared."""
    try:
        with open(path, "rb") as file:
            length = file.seek(0, os.SEEK_END) - 16
            file.seek(max(0, length))
            return file.read() == _SEAL + max(0, length).to_bytes(8, "little")
    except OSError:  # what cannot be read is made anew, or fails there with the reason
        return False


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


def _hold(file: IO[bytes]) -> None:
    """Show other processes that this one lives: the lock ends with it, however it ends."""
    if fcntl is not None:
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _delete_abandoned_parts(folder: Path, now: float) -> None:
    """``now`` is the file server's, by a file just made: the clocks of machines differ."""
    for part in folder.glob("*.part"):
        with suppress(OSError):  # another process is about the same, or it is another user's
            if _PART.fullmatch(part.name) and _is_abandoned(part, now - part.stat().st_mtime):
                part.unlink()


def _is_abandoned(part: Path, quiet: float) -> bool:
    if quiet < _QUIET:
        return False
    if fcntl is None:
        return True
    with open(part, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return quiet >= _QUIET_WITHOUT_LOCKS
    return True
