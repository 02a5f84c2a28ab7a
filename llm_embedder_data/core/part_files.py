"""Files and folders that are still being written: their names, and whether they are abandoned."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from pathlib import Path
from uuid import uuid4

from llm_embedder_data.core.platforms import is_held, machine

_PART = re.compile(r".+\.[0-9a-f]{32}\.part")

# How many of a part's 32 digits stand for the machine that writes it. The others are random.
_OF_MACHINE = 12

# Times without a write, in seconds, after which a part may count as abandoned. On this machine, the
# lock shows whether the writer runs; only the moment between opening and locking is not covered.
_QUIET_SECONDS = 2.0
# Locks of another machine may not be visible here, but its process writes at least once a minute.
_QUIET_SECONDS_OF_OTHERS = 120.0
# On a file system without locks, nothing shows whether a writer still runs: wait for a day.
_QUIET_SECONDS_WITHOUT_LOCKS = 86400.0


def part_of(path: Path) -> Path:
    """Return a new path beside ``path`` to write to: ``<name>.<32 digits>.part``.

    The first digits depend on the machine only, the others are random.
    """
    return path.with_name(f"{path.name}.{_digits_of_machine()}{uuid4().hex[_OF_MACHINE:]}.part")


def is_part(path: Path) -> bool:
    """Return whether a path has the name of a part."""
    return _PART.fullmatch(path.name) is not None


def is_abandoned(part: Path, lock: Path, quiet_seconds: float) -> bool:
    """Return whether the writer of a part has ended.

    Args:
        part: a path with the name of a part.
        lock: the file that the writer holds.
        quiet_seconds: time since the part changed.

    Raises:
        OSError: the file does not exist, or cannot be read.
    """
    is_ours = part.name[-37:-5].startswith(_digits_of_machine())  # ".part" follows the digits
    if quiet_seconds < (_QUIET_SECONDS if is_ours else _QUIET_SECONDS_OF_OTHERS):
        return False
    held = is_held(lock)
    return quiet_seconds >= _QUIET_SECONDS_WITHOUT_LOCKS if held is None else not held


@cache
def _digits_of_machine() -> str:
    known = machine()
    seen = uuid4().hex if known is None else hashlib.sha256(known.encode()).hexdigest()
    return seen[:_OF_MACHINE]
