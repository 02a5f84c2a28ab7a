"""The rows of all files of a source, and which of them are sound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import datasets
import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.rows.field_names import columns_by_field
from llm_embedder_data.rows.file_shapes import ids_for_texts, unread_columns, wrong_shape
from llm_embedder_data.rows.files.content_digest import content_digest
from llm_embedder_data.rows.reading import fields_seen, read_file
from llm_embedder_data.rows.reading_settings import OnBadRow, ReadingSettings
from llm_embedder_data.rows.row_errors import bad_rows_error, error_at_row
from llm_embedder_data.rows.schema.row_kind import RowKind
from llm_embedder_data.rows.sources import Source


@dataclass(slots=True)
class SourceRows:
    """The rows of a source as they were read.

    Attributes:
        source: where they come from.
        rows: all rows of all files, memory-mapped, with the columns of their kind.
        n_rows: rows of each file.
        digests: of the files' content.
        sound: ``[n]`` bool, whether a row has no fault.
        folder: the cache folder.
        notes: sentences for the report and the log.
    """

    source: Source
    rows: datasets.Dataset
    n_rows: tuple[int, ...]
    digests: tuple[str, ...]
    sound: NDArray[np.bool_]
    folder: Path
    notes: list[str] = field(default_factory=list)

    def count_bad(self, among: NDArray[np.bool_] | slice = slice(None)) -> dict[str, int]:
        """Return ``{"bad_row": n}`` for the bad rows among the given ones; empty without any."""
        n_rows = int((~self.sound[among]).sum())
        return {"bad_row": n_rows} if n_rows else {}

    def error(self, row: int, sentence: str) -> DataError:
        """Return an error at a row, named by the file that holds it."""
        source = self.source
        return error_at_row(source.files, self.n_rows, row, sentence, source.format)


def read_source(source: Source, kind: RowKind, settings: ReadingSettings) -> SourceRows:
    """Read the rows of a source.

    Raises:
        DataError: there are bad rows and they are not to be skipped, or all rows are bad; a file
            has another shape; or candidates are ids instead of texts.
    """
    folder = settings.cache_folder
    parts = [read_file(file, kind, format=source.format, cache_dir=folder) for file in source.files]
    rows = parts[0] if len(parts) == 1 else datasets.concatenate_datasets(parts)
    fault = rows.data.column("fault")
    read = SourceRows(
        source,
        rows,
        n_rows=tuple(map(len, parts)),
        digests=tuple(content_digest(file, folder) for file in source.files),
        sound=pc.is_null(fault).to_numpy(),
        folder=folder,
    )
    found = [fields_seen(part) for part in parts]
    for names in dict.fromkeys(map(tuple, found)):
        if note := unread_columns(kind.file_columns, names):
            read.notes.append(note)
    bad = np.flatnonzero(~read.sound)
    if len(bad) and (settings.on_bad_row == "raise" or len(bad) == len(rows)):
        raise _bad_rows(read, bad, kind, found, settings.on_bad_row)
    if len(bad):
        first = read.error(int(bad[0]), str(fault[int(bad[0])]))
        read.notes.append(f"{len(bad)} bad rows were skipped, the first: {first}")
    if "key" in rows.column_names and (
        sentence := ids_for_texts(rows.data.column("key"), read.sound)
    ):
        raise DataError.at(", ".join(source.files), sentence)
    return read


def renamed_fields(source: Source, fields: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return (field, name in the files) for the fields that a source renames.

    Raises:
        ConfigError: two fields would be read from one column.
    """
    columns_by_field(fields, source.fields, f"source {source.name!r}")
    return tuple(sorted(source.fields.items()))


def _bad_rows(
    read: SourceRows,
    bad: NDArray[np.int64],
    kind: RowKind,
    found: Sequence[Sequence[str]],
    on_bad_row: OnBadRow,
) -> DataError:
    """Return the error for bad rows: a file's wrong shape if that explains them, else each fault.

    Args:
        read: the rows.
        bad: the numbers of the bad rows, ascending.
        kind: of the rows.
        found: the columns of each file.
        on_bad_row: the setting.
    """
    error, start = None, 0
    for file, n_rows, names in zip(read.source.files, read.n_rows, found, strict=True):
        if error is None and not read.sound[start : start + n_rows].any():
            error = wrong_shape(file, kind.name, kind.file_columns, names)
        start += n_rows
    if error is None:
        error = bad_rows_error(read.rows.data.column("fault"), bad, read.error)
        if on_bad_row == "raise":
            error = error.reworded(f"{error}\n(data.on_bad_row=skip skips and counts bad rows)")
    if on_bad_row == "skip":
        error = error.reworded(
            f"none of the {len(bad)} rows of dataset {read.source.name!r} is left: dropped "
            f"{len(bad)} for bad_row (correct them, or leave the source out):\n{error}",
        )
    return error
