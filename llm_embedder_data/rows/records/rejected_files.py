"""The rejected records of a reading, kept beside the cache that the reading wrote."""

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
    """The rejected records of a cache; they are read when somebody asks for them.

    Attributes:
        cached: the cache file.
        n_records: rejected records, of which the file has the first.
        paths: the path of a file as the user gives it, by that of the cache's first reader.
    """

    cached: Path
    n_records: int
    paths: Mapping[str, str] = field(default_factory=dict)

    def records(self) -> list[RejectedRecord]:
        """Return the first records; empty if the file is gone."""
        if not self.n_records:
            return []
        kept = read_checked_json(_path_of(self.cached)) or {"first": []}
        return [RejectedRecord(self.paths.get(file, file), *rest) for file, *rest in kept["first"]]


def write_rejected(cached: Path, rejected: RejectedRecords) -> int:
    """Write rejected records beside a cache file; return how many there are.

    Without any, nothing is written.

    Raises:
        OSError: the folder cannot be written.
    """
    if rejected.n_records:
        write_checked_json(_path_of(cached), rejected.as_kept())
    return rejected.n_records


def has_rejected(cached: Path, n_records: int) -> bool:
    """Return whether the rejected records of a cache are where they were written."""
    return not n_records or _path_of(cached).is_file()


def _path_of(cached: Path) -> Path:
    return cached.with_name(f"{cached.stem}-rejected{CHECKED_JSON_SUFFIX}")
