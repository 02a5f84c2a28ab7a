"""Reports what was found in the files of a format, and what was left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from llm_embedder_data.core.printable import one_line
from llm_embedder_data.rows.records.raw_files import RecordPlace


@dataclass(kw_only=True)
class Found:
    """What was found in the files of a format, and what was left out.

    Attributes:
        files: the path of each file, and a description of its container and dialect.
        format: the name of the format; or ``queries``, ``judgments``, ``negatives`` or ``scores``
            for files beside the rows.
        n_rows: the number of canonical rows that were read.
        left_out: the numbers of records, ids and scores that were left out, by reason.
        dropped: the part of ``left_out`` that is records that became no row.
        first_dropped: the location of the first of these records, by reason.
        unread: columns with canonical names, or names of a known format, that were not read.
        group_sizes: the number of keys per query that the rows of a file need, by its path; None if
            any number is possible.
    """

    files: list[tuple[str, str]]
    format: str
    n_rows: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    first_dropped: dict[str, RecordPlace] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)
    group_sizes: dict[str, int | None] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as values that JSON can hold."""
        return {entry.name: getattr(self, entry.name) for entry in fields(self)}

    @classmethod
    def of_dict(cls, found: Mapping[str, Any]) -> Found:
        """Return the report from the result of :meth:`as_dict`."""
        counts = {name: Counter(found[name]) for name in ("left_out", "dropped")}
        return cls(**{**found, **counts, "files": [tuple(file) for file in found["files"]]})

    def with_paths(self, path_of: Callable[[str], str]) -> Found:
        """Return the report with other paths; ``path_of`` returns the new path of a file."""
        return replace(
            self,
            files=[(path_of(path), found) for path, found in self.files],
            first_dropped={
                reason: (path_of(path), row, line)
                for reason, (path, row, line) in self.first_dropped.items()
            },
            group_sizes={path_of(path): n for path, n in self.group_sizes.items()},
        )

    def __str__(self) -> str:
        rows = f"{self.n_rows:,} row{'s' * (self.n_rows != 1)} of format {self.format}"
        if self.left_out:
            rows += "; left out: " + ", ".join(
                f"{n:,} {why}" for why, n in self.left_out.most_common()
            )
        if len(self.files) == 1:
            path, found = self.files[0]
            return f"{one_line(path)}: {found}; {rows}"
        lines = [f"{one_line(path)}: {found}" for path, found in self.files]
        return "\n".join([*lines, f"together {rows}"])
