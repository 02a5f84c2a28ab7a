"""Files and folders that are still being written: their names, and whether they are abandoned."""

from __future__ import annotations

import re
from pathlib import Path
from uuid import uuid4

_PART = re.compile(r".+\.[0-9a-f]{32}\.part")

# On a file system without locks, nothing shows whether a writer still runs: wait for a day.
_QUIET_SECONDS_WITHOUT_LOCKS = 86400.0


def part_of(path: Path) -> Path:
    """Return a new path beside ``path`` to write to: ``<name>.<random>.part``."""
    return path.with_name(f"{path.name}.{uuid4().hex}.part")


def is_part(path: Path) -> bool:
    """Return whether a path has the name of a part."""
    return _PART.fullmatch(path.name) is not None


def is_abandoned(held: bool | None, quiet_seconds: float) -> bool:
    """Return whether the writer of a part has ended.

    Args:
        held: whether a process holds the part's lock; None if the file system has no locks.
        quiet_seconds: time since the part changed.
    """
    return quiet_seconds >= _QUIET_SECONDS_WITHOUT_LOCKS if held is None else not held
