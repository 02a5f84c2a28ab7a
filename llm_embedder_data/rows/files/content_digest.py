"""The digest of a file's content, remembered for as long as the file does not change."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

import xxhash

from llm_embedder_data.core.checked_json import (
    CHECKED_JSON_SUFFIX,
    read_checked_json,
    write_checked_json,
)
from llm_embedder_data.core.sealed_files import hash_of
from llm_embedder_data.rows.files.unreadable_files import unreadable
from llm_embedder_data.rows.files.watched_reads import opened_file
from llm_embedder_data.rows.settings.cache_folder import cache_folder


def content_digest(path: str, cache_dir: Path | None = None) -> str:
    """Return the 128-bit digest of a file's content, in hexadecimal.

    The digest is kept in the cache folder together with the file's :func:`stamp`, and is computed
    again when the stamp changes.

    Args:
        path: the file.
        cache_dir: see :func:`~llm_embedder_data.rows.settings.cache_folder.cache_folder`.

    Raises:
        DataError: the file cannot be read.
    """
    folder = cache_folder(cache_dir)
    found = stamp(path)
    name = xxhash.xxh3_128_hexdigest(os.fsencode(os.path.abspath(path)))
    cached = folder / f"{name}{CHECKED_JSON_SUFFIX}"
    remembered = read_checked_json(cached)
    if isinstance(remembered, dict) and remembered.get("stamp") == found:
        return str(remembered["digest"])
    try:
        with opened_file(path) or open(path, "rb") as file:
            digest = hash_of(file, sys.maxsize).hexdigest()
    except OSError as error:
        raise unreadable(path, error) from error
    with suppress(OSError):  # without the cached digest, the next call only takes longer
        folder.mkdir(parents=True, exist_ok=True)
        write_checked_json(cached, {"stamp": found, "digest": digest})
    return str(digest)


def stamp(path: str) -> list[int]:
    """Return a file's size in bytes, inode, and modification and change times in nanoseconds.

    The system sets the change time at every write, and users cannot set it. So a file that has the
    same stamp as before was not changed.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        state = os.stat(path)
    except OSError as error:
        raise unreadable(path, error) from error
    return [state.st_size, state.st_ino, state.st_mtime_ns, state.st_ctime_ns]
