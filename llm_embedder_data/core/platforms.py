"""What operating systems do differently with files.

Only Linux was tried. What is here for the others follows their documentation:

- Windows replaces, deletes or shortens no file that is mapped or open. So nothing in this package
  does that to a file of its own that it has mapped, a cache file gets another name when it has
  another content, and :func:`replace` takes a file that another process finished first for its own.
  It syncs no folders, and it has no :mod:`fcntl`.
- macOS keeps what ``fsync`` wrote in the disk's cache until ``F_FULLFSYNC`` asks for more.
- Both start DataLoader workers by spawn: what a dataset holds is pickled for each of them, so
  large arrays are pickled as the path of the file that they are mapped from.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


def sync(file: IO[bytes]) -> None:
    """Return when what was written to a file is on the disk.

    Raises:
        OSError: it cannot be written there.
    """
    file.flush()
    if fcntl is not None and hasattr(fcntl, "F_FULLFSYNC"):
        with suppress(OSError):  # a disk that does not know it
            fcntl.fcntl(file, fcntl.F_FULLFSYNC)
            return
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Return when the names in a folder are on the disk, where the system has a way to ask."""
    with suppress(OSError):
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def replace(source: Path, target: Path, is_the_same: Callable[[Path], bool]) -> None:
    """Give a file its name, in place of any other file of that name.

    Args:
        source: on the same disk.
        target: its new name.
        is_the_same: whether a file is as good as the source. Asked where the system refuses because
            another process has the target open; the source is deleted then.

    Raises:
        OSError: a file that cannot be replaced.
    """
    try:
        os.replace(source, target)
    except PermissionError:
        if not is_the_same(target):
            raise
        os.unlink(source)


def allocate(path: Path, n_bytes: int) -> None:
    """Make a file that long, and where that can be asked for, take the room on the disk now.

    A full disk is to be met here: where it is met in writing to mapped memory, that kills. The file
    must not be mapped.
    """
    with open(path, "ab") as file:
        file.truncate(n_bytes)
        if hasattr(os, "posix_fallocate") and n_bytes:
            os.posix_fallocate(file.fileno(), 0, n_bytes)


def hold(file: IO[bytes]) -> None:
    """Show other processes that this one lives: the lock ends with it, however it ends."""
    if fcntl is not None:
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def is_held(path: Path) -> bool | None:
    """Whether a living process holds a file; None where there are no locks.

    On Windows nobody does: a file that is open there cannot be deleted, which is enough.
    """
    if fcntl is None:
        return False
    with open(path, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return None
    return False


def open_files_limit() -> int | None:
    """How many files this process may have open; None where that is not known."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
