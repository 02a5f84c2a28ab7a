"""The files and records that rows of foreign formats came from."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import datasets
import pyarrow as pa

from llm_embedder_data.core.checked_json import CHECKED_JSON_SUFFIX

# Additional columns of a dataset: the index of a row's file among the files of the summary; the
# record's number in the file, from 0; and its line, from 1, or null.
LOCATION_COLUMNS = [
    ("source_file", pa.int32()),
    ("source_row", pa.int64()),
    ("source_line", pa.int64()),
]


class RowLocations:
    """The records that the rows of a cached dataset came from.

    Args:
        rows: a dataset that :func:`with_files` returned.

    Attributes:
        files: the files of the rows; the column ``source_file`` holds indices into them.
    """

    def __init__(self, rows: datasets.Dataset) -> None:
        self.files: list[str] = json.loads(rows.info.description) if rows.info.description else []
        self._table = rows.data

    def at(self, row: int) -> tuple[str, int, int | None] | None:
        """Return a row's file, its record's number in the file, and its line; None if unknown."""
        file, number, line = (self._table.column(name)[row].as_py() for name, _ in LOCATION_COLUMNS)
        if file is None or file >= len(self.files):
            return None
        return self.files[file], number, line


def with_files(rows: datasets.Dataset, files: Iterable[str]) -> datasets.Dataset:
    """Return cached rows after adding the paths of the files that they came from.

    The cache file does not hold the paths, because its name depends on content only. Equal files at
    other paths share the cache.

    Args:
        rows: a dataset with :data:`LOCATION_COLUMNS`.
        files: the paths as the user gave them.
    """
    rows.info.description = json.dumps(list(files))
    return rows


def locations_of(rows: datasets.Dataset) -> RowLocations | None:
    """Return the locations of rows; None if each record of the files is a row."""
    is_foreign = "source_file" in rows.column_names and rows.cache_files
    return RowLocations(rows) if is_foreign else None


def summary_of(cached: Path) -> Path:
    """Return the path of the summary beside a cache file."""
    return cached.with_suffix(CHECKED_JSON_SUFFIX)
