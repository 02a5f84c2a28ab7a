"""Files that appear complete or not at all, and locks so that only one process writes a file.

Correctness rests on the rename alone. Locks only save work: on a cluster, some file systems have no
locks, and some have locks that other machines do not see.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

from llm_embedder_data.core.part_files import is_abandoned, is_part, part_of
from llm_embedder_data.core.platforms import hold, replace, sync, sync_folder

# How often a process looks for abandoned parts in a folder, in seconds.
_SECONDS_BETWEEN_LOOKS = 120.0

_log = logging.getLogger(__name__)

# When this process last looked for abandoned parts, by folder, so that a folder of thousands of
# files is not listed once per file.
_looked_at: dict[Path, float] = {}


@contextmanager
def atomic_file(
    path: Path, *, is_the_same: Callable[[Path], bool] = lambda path: False
) -> Iterator[IO[bytes]]:
    """Open a binary file that gets its name only when the block ends without an error.

    The content is synced to the disk before the rename, and the rename before the block ends. So
    after a power failure, a file under that name is complete. Until the rename, the file is called
    ``<name>.<32 digits>.part``, in the same folder. An error deletes this part. A killed process
    leaves its part behind, and a later ``atomic_file`` in the same folder deletes it: at once on
    the same machine; on another machine, whose locks may not be visible, if it has not changed for
    two minutes. So write at least once a minute.

    Args:
        path: the file to make, in an existing folder. An existing file is replaced.
        is_the_same: returns whether an existing file that cannot be replaced has the same content:
            see :func:`~llm_embedder_data.core.platforms.replace`.

    Raises:
        OSError: the folder cannot be written, the disk is full, or a folder has that name.
    """
    remove_empty_folder(path)
    # Not with tempfile: other users of a shared folder could not read its files.
    part = part_of(path)
    try:
        with open(part, "xb") as file:
            hold(file)
            _delete_abandoned_parts(path.parent, now=os.fstat(file.fileno()).st_mtime)
            yield file
            sync(file)
        publish(part, path, is_the_same)
    finally:
        with suppress(OSError):  # already renamed, or never created
            os.unlink(part)


@contextmanager
def locked(path: Path, patience: float = 600.0) -> Iterator[None]:
    """Hold a lock while making a file, so that one process does the work for all.

    The lock is best effort: the block runs without it after ``patience`` seconds, or if the folder
    has no locks or cannot be written. So check inside the block whether the file already exists,
    and write it with :func:`atomic_file`.

    Args:
        path: the file to make, in an existing folder.
        patience: how long to wait, in seconds.
    """
    lock = FileLock(f"{path}.lock")
    with suppress(OSError, NotImplementedError):
        _acquire(lock, path, patience)
    try:
        yield
    finally:
        if lock.is_locked:
            # A process that waits for the lock then gets that of the deleted file, while a process
            # that comes later locks a new file. That does no harm: both find the file made.
            with suppress(OSError):
                os.unlink(lock.lock_file)
            lock.release()


def publish(part: Path, path: Path, is_the_same: Callable[[Path], bool]) -> None:
    """Rename a file that has been synced to the disk, and sync its new name as well.

    Raises:
        OSError: the folder cannot be written, or a folder has that name.
    """
    replace(part, path, is_the_same)
    sync_folder(path.parent)


def remove_empty_folder(path: Path) -> None:
    """Remove an empty folder that has the name of a file to write.

    Raises:
        IsADirectoryError: the folder is not empty.
    """
    if path.is_dir() and not path.is_symlink():
        try:
            path.rmdir()
        except OSError as error:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path)) from error


# --------------------------------------------------------------------------------------------------


def _acquire(lock: FileLock, path: Path, patience: float) -> None:
    try:
        lock.acquire(timeout=min(patience, 10.0))
    except Timeout:
        _log.warning("%s is being made by another process; waiting for it", path)
        try:
            lock.acquire(timeout=patience)
        except Timeout:
            _log.warning(
                "%s is made here too: the other process is slow, or does not respond", path
            )


def _delete_abandoned_parts(folder: Path, now: float) -> None:
    """Delete the parts of killed processes.

    Args:
        folder: the folder to look in.
        now: the file server's time, taken from a new file, because the clocks of machines differ.
    """
    if time.monotonic() - _looked_at.get(folder, -_SECONDS_BETWEEN_LOOKS) < _SECONDS_BETWEEN_LOOKS:
        return
    _looked_at[folder] = time.monotonic()
    for part in folder.glob("*.part"):
        with suppress(OSError):  # deleted by another process meanwhile, or owned by another user
            if is_part(part) and is_abandoned(part, part, now - part.stat().st_mtime):
                part.unlink()
