"""The folder in which a process builds a token table; a killed process's folder is reused."""

from __future__ import annotations

import os
import shutil
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from filelock import FileLock

from llm_embedder_data.batches.token_cache.token_table import TABLE_SUFFIX
from llm_embedder_data.core.checked_json import read_checked_json, write_checked_json
from llm_embedder_data.core.sealed_files import BUILDING_SUFFIX, hash_of

# Files in a build folder: the progress of the build, the host that builds, and that process's lock.
STATE, _OWNER, _LOCK = "state.json", "owner.json", "owner.lock"

# A folder without an owner is deleted after this many seconds. Its process was killed right after
# making the folder, or while deleting it.
_OWNED_WITHIN = 120.0

# An abandoned build is deleted after this many seconds, if no process has continued it.
_FORGOTTEN = 7 * 86400.0


class BuildFolder:
    """Gives this process a folder to build in: one left behind by a killed process, or a new one.

    Abandoned builds that are damaged or no longer needed are deleted if possible.

    Args:
        path: path of the table to build.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._folder: Path
        self._lock: FileLock

    def __enter__(self) -> Path:
        for folder in sorted(self._path.parent.glob(f"*{BUILDING_SUFFIX}")):
            if _has_no_owner(folder):
                shutil.rmtree(folder, ignore_errors=True)
                continue
            same_table = folder.name.startswith(f"{self._path.stem}.")
            if (same_table or _is_unwanted(folder)) and self._take_over(folder):
                if same_table and _is_sound(folder):
                    return folder
                self._give_up()
        self._folder = self._path.with_name(f"{self._path.stem}.{uuid4().hex}{BUILDING_SUFFIX}")
        self._folder.mkdir()
        self._lock = FileLock(self._folder / _LOCK)
        with suppress(OSError, NotImplementedError):
            self._lock.acquire(timeout=0)
        write_checked_json(self._folder / _OWNER, socket.gethostname())
        return self._folder

    def _take_over(self, folder: Path) -> bool:
        # On a shared file system, locks of other hosts may not be visible, so leave folders of
        # other hosts alone.
        if read_checked_json(folder / _OWNER) != socket.gethostname() or folder.is_symlink():
            return False
        self._folder, self._lock = folder, FileLock(folder / _LOCK)
        with suppress(OSError, NotImplementedError):
            self._lock.acquire(timeout=0)
            return True
        return False

    def _give_up(self) -> None:
        self._lock.release()  # before deleting: Windows cannot delete an open file
        shutil.rmtree(self._folder, ignore_errors=True)

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: Any) -> None:
        if kind is None:
            self._give_up()
        else:  # another process may go on with this build
            self._lock.release()


def _has_no_owner(folder: Path) -> bool:
    """Return whether a folder has had no owner for long, so that no process builds in it."""
    try:
        age = time.time() - folder.stat().st_mtime
        return age > _OWNED_WITHIN and not folder.is_symlink() and not (folder / _OWNER).exists()
    except OSError:  # another process has just deleted it
        return False


def _is_sound(folder: Path) -> bool:
    """Return whether a build recorded its state, and its files match the record."""
    state = read_checked_json(folder / STATE)
    if state is None or not os.access(folder, os.W_OK):
        return False
    files = {name: (size, state["digests"][name]) for name, size in state["sizes"].items()}
    files["hashes"] = (16 * state["n_texts"], state["hashes"])
    for name, (size, digest) in files.items():
        path = folder / f"{name}.bin"
        try:
            with open(path, "r+b") as file:
                if hash_of(file, size).hexdigest() != digest:
                    return False
        except OSError:
            return False
    return True


def _is_unwanted(folder: Path) -> bool:
    """Return whether a build's table exists already, or the build was abandoned long ago."""
    try:
        table = folder.with_name(folder.name.split(".")[0] + TABLE_SUFFIX)
        return table.exists() or time.time() - folder.stat().st_mtime > _FORGOTTEN
    except OSError:  # another process has just finished that table
        return False
