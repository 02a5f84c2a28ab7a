"""Where rows came from whose files are not read column by column."""

from __future__ import annotations

from pathlib import Path

import datasets
import pyarrow as pa

from llm_embedder_data.core.checked_json import CHECKED_JSON_SUFFIX, read_checked_json

# Columns beside those of the kind: the number of the file that a row came from, among the files of
# the summary; the record's number in it, from 0; and its line, from 1, null without lines.
LOCATION_COLUMNS = [
    ("source_file", pa.int32()),
    ("source_row", pa.int64()),
    ("source_line", pa.int64()),
]


class RowLocations:
    """Where the rows of a cached dataset came from.

    Args:
        rows: a dataset of :func:`~llm_embedder_data.rows.foreign_rows.read_foreign`.
    """

    def __init__(self, rows: datasets.Dataset) -> None:
        summary = read_checked_json(summary_of(Path(rows.cache_files[0]["filename"])))
        self._files: list[str] = summary["row_files"] if isinstance(summary, dict) else []
        self._table = rows.data

    def at(self, row: int) -> tuple[str, int, int | None] | None:
        """Return the file of a row, its record's number there, and its line; None if unknown."""
        file, number, line = (self._table.column(name)[row].as_py() for name, _ in LOCATION_COLUMNS)
        if file is None or file >= len(self._files):
            return None
        return self._files[file], number, line


def locations_of(rows: datasets.Dataset) -> RowLocations | None:
    """Return where rows came from; None for rows that are counted as their files have them."""
    is_foreign = "source_file" in rows.column_names and rows.cache_files
    return RowLocations(rows) if is_foreign else None


def summary_of(cached: Path) -> Path:
    """Return the path of the summary that lies beside a cache file."""
    return cached.with_suffix(CHECKED_JSON_SUFFIX)
