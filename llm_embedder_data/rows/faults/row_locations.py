"""Where rows came from whose files are not read column by column."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import datasets
import pyarrow as pa

from llm_embedder_data.core.checked_json import CHECKED_JSON_SUFFIX

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
        rows: a dataset of :func:`with_files`.

    Attributes:
        files: that rows came from, in the order of the column ``source_file``.
    """

    def __init__(self, rows: datasets.Dataset) -> None:
        self.files: list[str] = json.loads(rows.info.description) if rows.info.description else []
        self._table = rows.data

    def at(self, row: int) -> tuple[str, int, int | None] | None:
        """Return the file of a row, its record's number there, and its line; None if unknown."""
        file, number, line = (self._table.column(name)[row].as_py() for name, _ in LOCATION_COLUMNS)
        if file is None or file >= len(self.files):
            return None
        return self.files[file], number, line


def with_files(rows: datasets.Dataset, files: Iterable[str]) -> datasets.Dataset:
    """Return cached rows that know the files that they came from.

    The names are not in the cache file: it is found by content, and an equal file elsewhere, or the
    same one after a move, has the same cache.

    Args:
        rows: with :data:`LOCATION_COLUMNS`.
        files: as the user gave them.
    """
    rows.info.description = json.dumps(list(files))
    return rows


def locations_of(rows: datasets.Dataset) -> RowLocations | None:
    """Return where rows came from; None for rows that are counted as their files have them."""
    is_foreign = "source_file" in rows.column_names and rows.cache_files
    return RowLocations(rows) if is_foreign else None


def summary_of(cached: Path) -> Path:
    """Return the path of the summary that lies beside a cache file."""
    return cached.with_suffix(CHECKED_JSON_SUFFIX)
