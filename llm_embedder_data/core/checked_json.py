"""Small JSON files that contain a digest of their own content, so that damage is noticed."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import xxhash

from llm_embedder_data.core.files import atomic_file

CHECKED_JSON_SUFFIX = ".digest"


def write_checked_json(path: Path, content: Any) -> None:
    """Write a JSON-serializable value with its digest.

    Raises:
        OSError: the folder cannot be written.
    """
    with atomic_file(path) as file:
        file.write(json.dumps({"content": content, "digest": _digest(content)}).encode())


def read_checked_json(path: Path) -> Any:
    """Return the value that a file holds; None if the file is missing or damaged."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would block
            return None
        record = json.loads(path.read_bytes())
        content, digest = record["content"], record["digest"]
        return content if digest == _digest(content) else None
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        return None


def _digest(content: Any) -> str:
    return xxhash.xxh3_128_hexdigest(json.dumps(content, sort_keys=True).encode())
