"""A record of what was found in files of a format, and of what was left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from llm_embedder_data.core.printable import one_line
from llm_embedder_data.rows.records.raw_files import RecordPlace


@dataclass(kw_only=True)
class Found:
    """What was found in files of one format, and what was left out.

    Attributes:
        files: path of each file, and its container with its dialect.
        format: a name of ``format:``.
        n_rows: canonical rows that were read.
        left_out: what was left out, by reason: records, ids, scores.
        dropped: of these, the records that gave no row.
        first_dropped: where the first of these was, by reason.
        unread: columns that have names of ours or of a known format, and were not read.
        group_sizes: keys per query that the rows of a file ask for, by its path; None for any
            number.
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
        """In plain Python, as JSON has it."""
        return {entry.name: getattr(self, entry.name) for entry in fields(self)}

    @classmethod
    def of_dict(cls, found: Mapping[str, Any]) -> Found:
        """What :meth:`as_dict` gave."""
        counts = {name: Counter(found[name]) for name in ("left_out", "dropped")}
        return cls(**{**found, **counts, "files": [tuple(file) for file in found["files"]]})

    def with_paths(self, path_of: Callable[[str], str]) -> Found:
        """The same of equal files that lie elsewhere; ``path_of`` gives the path of each file."""
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
