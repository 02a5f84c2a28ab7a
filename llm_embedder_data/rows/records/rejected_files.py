"""Stores the records that were rejected while a file was read, beside the cache of its rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from llm_embedder_data.core.checked_json import (
    CHECKED_JSON_SUFFIX,
    read_checked_json,
    write_checked_json,
)
from llm_embedder_data.rows.records.rejected_records import RejectedRecord, RejectedRecords


@dataclass(frozen=True, slots=True)
class RejectedFile:
    """The rejected records of a cache file, loaded on request.

    Attributes:
        cached: the cache file of the rows.
        n_records: the number of rejected records; only the first are stored.
        paths: the path that the user gives for a file, by the path when the cache was written.
    """

    cached: Path
    n_records: int
    paths: Mapping[str, str] = field(default_factory=dict)

    def records(self) -> list[RejectedRecord]:
        """Return the first rejected records; [] if the file with them was deleted."""
        if not self.n_records:
            return []
        kept = read_checked_json(_path_of(self.cached)) or {"first": []}
        return [RejectedRecord(self.paths.get(file, file), *rest) for file, *rest in kept["first"]]


def write_rejected(cached: Path, rejected: RejectedRecords) -> int:
    """Write rejected records beside a cache file; return how many there are.

    No file is written if there are none.

    Raises:
        OSError: the folder cannot be written.
    """
    if rejected.n_records:
        write_checked_json(_path_of(cached), rejected.as_kept())
    return rejected.n_records


def has_rejected(cached: Path, n_records: int) -> bool:
    """Return whether the file with a cache's rejected records exists, if there are any."""
    return not n_records or _path_of(cached).is_file()


def _path_of(cached: Path) -> Path:
    return cached.with_name(f"{cached.stem}-rejected{CHECKED_JSON_SUFFIX}")
