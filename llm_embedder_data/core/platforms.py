"""File operations that differ between operating systems.

Only Linux is tested. The rest follows the documentation of the other systems:

- Windows cannot replace, delete or shorten a file that is open or mapped. So this package never
  changes a cache file of its own: different content gets a different name. If another process has
  finished the same file first, :func:`replace` keeps that file. Windows has no :mod:`fcntl` and no
  way to sync a folder.
- macOS needs ``F_FULLFSYNC``: its ``fsync`` stops at the disk's cache.
- Both start DataLoader workers by spawn, which pickles each dataset. So large arrays are pickled as
  the path of the file that they are mapped from.
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
    """Wait until the content of a file is on the disk.

    Raises:
        OSError: the content cannot be written to the disk.
    """
    file.flush()
    if fcntl is not None and hasattr(fcntl, "F_FULLFSYNC"):
        with suppress(OSError):  # not supported by this disk
            fcntl.fcntl(file, fcntl.F_FULLFSYNC)
            return
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the file names of a folder are on the disk, if the system supports that."""
    with suppress(OSError):
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def replace(source: Path, target: Path, is_the_same: Callable[[Path], bool]) -> None:
    """Rename a file, replacing the target.

    Args:
        source: the file, on the same disk as the target.
        target: its new name.
        is_the_same: returns whether an existing target has the same content as the source. Called
            if the system refuses the rename because another process has the target open. If the
            content is the same, the target stays and the source is deleted.

    Raises:
        OSError: the target cannot be replaced.
    """
    try:
        os.replace(source, target)
    except PermissionError:
        if not is_the_same(target):
            raise
        os.unlink(source)


def allocate(path: Path, n_bytes: int) -> None:
    """Set the length of a file and reserve its disk space, if the system supports that.

    A full disk then raises an error here. Otherwise a later write to mapped memory would kill the
    process. The file must not be mapped yet.
    """
    with open(path, "ab") as file:
        file.truncate(n_bytes)
        if hasattr(os, "posix_fallocate") and n_bytes:
            os.posix_fallocate(file.fileno(), 0, n_bytes)


def hold(file: IO[bytes]) -> None:
    """Lock a file until it is closed or this process ends, so that others see it is in use."""
    if fcntl is not None:
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def is_held(path: Path) -> bool | None:
    """Return whether a living process holds a file; None if the file system has no locks.

    Always False on Windows. No harm is done, because Windows cannot delete a file that is open.
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


def machine() -> str | None:
    """Return a name of this machine and of the file systems that this process sees.

    Processes with the same name see each other's locks, on whatever file system. Containers of a
    machine have different names, because a network disk may be mounted once for each of them. None
    if the system, such as macOS or Windows, does not say.
    """
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return f"{file.read().strip()} {os.readlink('/proc/self/ns/mnt')}"
    except OSError:
        return None


def open_files_limit() -> int | None:
    """Return how many files this process may have open; None if that is unknown."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
