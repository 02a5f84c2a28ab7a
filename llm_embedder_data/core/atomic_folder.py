"""Folders that appear complete or not at all."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from llm_embedder_data.core.files import remove_empty_folder
from llm_embedder_data.core.part_files import is_abandoned, is_part, part_of
from llm_embedder_data.core.platforms import hold, sync, sync_folder

_LOCK = ".lock"


@contextmanager
def atomic_folder(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a folder to fill, which gets its name only when the block ends without an error.

    Until then the folder is called ``<name>.<32 digits>.part``. An error deletes this part. A
    killed process leaves its part behind, and a later call for the same name deletes it. All files
    are synced to the disk before the rename.

    Args:
        path: the folder to make. Its parent must exist. It may exist itself if it is empty.
        overwrite: whether to replace a folder that has files. The old folder is renamed, and
            deleted once the new one has its name; a process killed between the two renames leaves
            the old folder as ``<name>.<random>.part``.

    Raises:
        OSError: the folder cannot be written, the disk is full, the folder exists and has files, or
            a file has its name.
    """
    if not overwrite:
        remove_empty_folder(path)
    _delete_abandoned_parts(path)
    part = part_of(path)
    part.mkdir()
    try:
        with open(part / _LOCK, "xb") as lock:
            hold(lock)
            yield part
            _sync_files(part)
        (part / _LOCK).unlink()
        _put(part, path, overwrite)
    finally:
        shutil.rmtree(part, ignore_errors=True)  # gone already if it was renamed


# --------------------------------------------------------------------------------------------------


def _put(part: Path, path: Path, overwrite: bool) -> None:
    if not (overwrite and path.is_dir()):
        remove_empty_folder(path)
        os.rename(part, path)
    else:
        aside = part_of(path)
        os.rename(path, aside)
        try:
            os.rename(part, path)
        except OSError:
            os.rename(aside, path)
            raise
        shutil.rmtree(aside, ignore_errors=True)
    sync_folder(path.parent)


def _sync_files(folder: Path) -> None:
    for found in folder.rglob("*"):
        if found.is_dir():
            sync_folder(found)
        else:
            with open(found, "rb+") as file:
                sync(file)
    sync_folder(folder)


def _delete_abandoned_parts(path: Path) -> None:
    """Delete the parts that killed processes left behind."""
    for part in path.parent.glob(f"{path.name}.*.part"):
        with suppress(OSError):  # deleted by another process meanwhile, or owned by another user
            if not is_part(part):
                continue
            lock = part / _LOCK  # an old folder that was renamed has none, and is kept
            newest = max(found.stat().st_mtime for found in (lock, *part.rglob("*")))
            if is_abandoned(part, lock, time.time() - newest):
                shutil.rmtree(part)
