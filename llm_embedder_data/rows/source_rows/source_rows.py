"""Reads the rows of all files of a source, and finds out which of them are sound."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from llm_embedder_data.core.errors import ConfigError, DataError
from llm_embedder_data.core.printable import one_line
from llm_embedder_data.core.shown_values import shown
from llm_embedder_data.rows.faults.file_shapes import (
    ids_for_texts,
    note_on_unread,
    unread_columns,
    wrong_shape,
)
from llm_embedder_data.rows.faults.row_errors import bad_rows_error, error_at_row
from llm_embedder_data.rows.faults.row_locations import locations_of
from llm_embedder_data.rows.files.content_digest import content_digest
from llm_embedder_data.rows.files.file_formats import Format
from llm_embedder_data.rows.foreign_rows.foreign_rows import read_foreign
from llm_embedder_data.rows.formats.llm_embedder import LLM_EMBEDDER
from llm_embedder_data.rows.formats.parts import INCOMPLETE_SCORES
from llm_embedder_data.rows.passages.passages import Passages
from llm_embedder_data.rows.records.raw_files import RecordPlace
from llm_embedder_data.rows.records.rejected_files import RejectedFile
from llm_embedder_data.rows.schema.canonical_rows import Kind, Row
from llm_embedder_data.rows.schema.query_columns import QUERY_ID
from llm_embedder_data.rows.schema.reading import fields_seen, read_file
from llm_embedder_data.rows.schema.row_kind import RowKind
from llm_embedder_data.rows.settings.field_names import columns_by_field
from llm_embedder_data.rows.settings.reading_settings import OnBadRow, ReadingSettings
from llm_embedder_data.rows.source_rows.row_tables import RowTables
from llm_embedder_data.rows.sources.native_shape import (
    container_format,
    is_native,
    kind_of,
    with_id_field,
)
from llm_embedder_data.rows.sources.sources import Source
from llm_embedder_data.rows.streaming.piece_cache import PieceCache
from llm_embedder_data.rows.streaming.shard_index import indexed
from llm_embedder_data.rows.streaming.streamed_texts import StreamedTexts

# The number of remote files whose state is requested at the same time.
_ASKED_AT_ONCE = 16


@dataclass(slots=True)
class SourceRows:
    """The rows of a source as they were read.

    Attributes:
        source: the source.
        rows: a memory-mapped dataset of all rows of all files, with the columns of their kind.
        n_rows: the number of rows of each file.
        digests: the digests of the files' content.
        sound: whether each row has no fault, ``[n]`` bool.
        folder: the cache folder.
        format: the format of the files, a name of :mod:`llm_embedder_data.rows.formats`.
        container: the container of native files, which locates the lines of errors.
        dropped: the number of records that became no row, by reason. Bad rows of ``rows`` are not
            among them.
        first_dropped: the location of the first of these records, by reason.
        notes: sentences for the report and the log.
        n_incompletely_scored: the number of rows whose scores were left out, because a score is
            missing or not finite.
        unread: (file, column) of columns that are not read although their names are known.
        side_cars: the digests of the joined side-cars, by the option that names them; and as
            ``corpus``, that of the corpus that their document ids refer to.
        base_files: the names of the cache files of the rows without side-cars; empty if there are
            no side-cars.
        are_teacher_scores: whether ``teacher_scores`` come from a teacher. Scores of a miner are
            only used to filter and rank negatives.
        passages: the passages whose numbers are the keys; None if keys are texts.
        streamed: the rows with their texts, if ``rows`` lacks them because they are streamed; or
            None.
        group_sizes: the number of keys per query that the rows of a file need, by its path; None if
            any number is possible.
        rejected: the first records that became no row. Bad rows of ``rows`` are not among them.
    """

    source: Source
    rows: datasets.Dataset
    n_rows: tuple[int, ...]
    digests: tuple[str, ...]
    sound: NDArray[np.bool_]
    folder: Path
    format: str = LLM_EMBEDDER.name
    container: Format = "auto"
    dropped: dict[str, int] = field(default_factory=dict)
    first_dropped: Mapping[str, RecordPlace] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    n_incompletely_scored: int = 0
    unread: list[tuple[str, str]] = field(default_factory=list)
    side_cars: Mapping[str, str] = field(default_factory=dict)
    base_files: tuple[str, ...] = ()
    are_teacher_scores: bool = True
    passages: Passages | None = None
    streamed: StreamedTexts | None = None
    group_sizes: Mapping[str, int | None] = field(default_factory=dict)
    rejected: tuple[RejectedFile, ...] = ()

    def tables(self, columns: Sequence[str]) -> RowTables:
        """Return the rows as Arrow tables of some columns, in which keys are texts."""
        return RowTables(self.rows, columns, self.passages, self.streamed)

    @property
    def is_native(self) -> bool:
        """Whether rows were read column by column, so that each record of the files is a row."""
        return "source_file" not in self.rows.column_names

    def count_bad(self, among: NDArray[np.bool_] | slice = slice(None)) -> dict[str, int]:
        """Return ``{"bad_row": n}`` for the bad rows among the given rows; {} if there are none."""
        n_rows = int((~self.sound[among]).sum())
        return {"bad_row": n_rows} if n_rows else {}

    def unread_beside(self, rows: NDArray[np.bool_]) -> tuple[tuple[str, str], ...]:
        """Return the ``unread`` columns of the files that hold some rows.

        Args:
            rows: whether each row counts, ``[n]`` bool.
        """
        parts = np.split(rows, np.cumsum(self.n_rows)[:-1])
        holding = {file for file, part in zip(self.source.files, parts, strict=True) if part.any()}
        return tuple((file, name) for file, name in self.unread if file in holding)

    def error(self, row: int, sentence: str) -> DataError:
        """Return an error at a row, which names the row's file and its number there."""
        return error_at_row(
            self.source.files, self.n_rows, row, sentence, self.container, locations_of(self.rows)
        )


@dataclass(frozen=True, slots=True)
class RowShapes:
    """The kinds of rows to make from a source, depending on how its files are read.

    Attributes:
        native: the kind of rows for native files, with the source's names of columns; None if the
            source names columns in a way that only readers of foreign formats understand.
        foreign: the kind of rows for all other files.
        record_of: returns a record with the fields of ``foreign`` for a canonical row.
        kind: the kind of the canonical rows; None for that of ``foreign``.
        key_template: the template of passages; None for that of the settings.
    """

    native: RowKind | None
    foreign: RowKind
    record_of: Callable[[Row], Mapping[str, Any]]
    kind: Kind | None = None
    key_template: str | None = None


def read_source(source: Source, shapes: RowShapes, settings: ReadingSettings) -> SourceRows:
    """Read the rows of a source, whatever format its files have.

    Native files are read column by column, all others row by row.

    Args:
        source: the source.
        shapes: the kinds of rows to make.
        settings: how sources are read.

    Raises:
        DataError: there are bad rows that are not skipped, or all rows are bad; a file has no known
            format; or candidates are ids instead of texts.
        ConfigError: a setting of the source cannot be used.
    """
    native = shapes.native
    if source.streaming:
        return _read_streamed(source, native, settings)
    if native is not None and is_native(source, native, settings.cache_folder):
        return _read_native(source, native, settings)
    return _read_foreign(source, shapes, settings)


def renamed_fields(source: Source, fields: Sequence[str]) -> tuple[tuple[str, str], ...] | None:
    """Return (field, name in the files) for the fields that a source renames.

    Args:
        source: the source.
        fields: the canonical fields of the rows.

    Returns:
        Sorted pairs; None if the source names a part of a column, several columns, or a field that
        is not among ``fields``.

    Raises:
        ConfigError: two fields would be read from the same column.
    """
    renamed = {name: column for name, column in source.fields.items() if isinstance(column, str)}
    if len(renamed) < len(source.fields) or not set(renamed) <= set(fields):
        return None
    if "queries" in source.reader_options and QUERY_ID.name not in renamed:
        # Queries may be read from the column of their ids: the ids come with the queries' texts.
        fields = [name for name in fields if name != QUERY_ID.name]
    columns_by_field(fields, renamed, f"source {source.name!r}")
    return tuple(sorted(renamed.items()))


# --------------------------------------------------------------------------------------------------


def _read_native(source: Source, kind: RowKind, settings: ReadingSettings) -> SourceRows:
    folder = settings.cache_folder
    containers = [container_format(file, source.format) for file in source.files]
    kinds = [with_id_field(kind, file, folder) for file in source.files]
    parts = [
        read_file(file, file_kind, format=container, cache_dir=folder)
        for file, file_kind, container in zip(source.files, kinds, containers, strict=True)
    ]
    digests = [content_digest(file, folder) for file in source.files]
    read = _joined(source, kinds, parts, digests, containers[0], settings)
    _refuse_ids(read)
    return read


def _read_streamed(source: Source, kind: RowKind | None, settings: ReadingSettings) -> SourceRows:
    """Read the indices of remote files; their texts are fetched later.

    Raises:
        ConfigError: the source has a setting of foreign formats, which cannot be streamed.
    """
    if source.format not in ("auto", "parquet", "arrow"):
        raise ConfigError(
            f"dataset {source.name!r}: format={source.format!r} with streaming, which reads "
            "only Parquet and Arrow files with the native columns (convert them, or leave out "
            "streaming)"
        )
    if source.reader_options:
        given = ", ".join(map(one_line, source.reader_options))
        raise ConfigError(
            f"dataset {source.name!r}: streaming joins nothing to the rows, so {given} cannot be "
            "used with it (take it out, or leave out streaming)"
        )
    if kind is None:
        raise ConfigError(
            f"dataset {source.name!r}: streaming reads each of query, pos, neg, history, "
            "teacher_scores, query_id, task and instruction from one column, and the source names "
            "several columns, a part of one, or another field (name one column for each, or leave "
            "out streaming)"
        )
    folder = settings.cache_folder
    with ThreadPoolExecutor(_ASKED_AT_ONCE) as threads:
        found = list(threads.map(lambda file: indexed(file, source, kind, folder), source.files))
    shards = [file.shard for file in found]
    read = _joined(
        source,
        [kind] * len(found),
        [file.rows for file in found],
        [file.digest for file in found],
        shards[0].container,
        settings,
    )
    cache = PieceCache(folder / "streamed" / "pieces", settings.stream_cache_mib << 20)
    read.streamed = StreamedTexts(shards, cache)
    return read


def _joined(
    source: Source,
    kinds: Sequence[RowKind],
    parts: Sequence[datasets.Dataset],
    digests: Sequence[str],
    container: Format,
    settings: ReadingSettings,
) -> SourceRows:
    """Return the rows of all files of a source, with notes on columns that were not read.

    Args:
        source: the source of the rows.
        kinds: the kind of the rows of each file.
        parts: the rows of each file.
        digests: the digest of each file's content.
        container: the container of the files.
        settings: how they are read.

    Raises:
        DataError: there are bad rows that are not skipped, or all rows are bad.
    """
    rows = parts[0] if len(parts) == 1 else datasets.concatenate_datasets(list(parts))
    fault = rows.data.column("fault")
    read = SourceRows(
        source,
        rows,
        n_rows=tuple(map(len, parts)),
        digests=tuple(digests),
        sound=pc.is_null(fault).to_numpy(),
        folder=settings.cache_folder,
        format="id_text" if kind_of(kinds[0]) == "corpus" else LLM_EMBEDDER.name,
        container=container,
    )
    found = [fields_seen(part) for part in parts]
    notes: dict[str, str] = {}  # the first file that a note is about, by note
    for file, kind, names in zip(source.files, kinds, found, strict=True):
        if near := unread_columns(kind.file_columns, names):
            read.unread += [(file, name) for name in near]
            notes.setdefault(note_on_unread(kind.file_columns, names, near), file)
    for note, file in notes.items():
        at = f"{one_line(Path(file).name)}: " if len(source.files) > 1 else ""
        read.notes.append(at + note)
    bad = np.flatnonzero(~read.sound)
    if len(bad) and (settings.on_bad_row == "raise" or len(bad) == len(rows)):
        raise _bad_rows(read, bad, kinds[0], found, settings.on_bad_row)
    if len(bad):
        first = read.error(int(bad[0]), str(fault[int(bad[0])]))
        read.notes.append(f"{len(bad)} bad rows were skipped, the first: {first}")
    return read


def _read_foreign(source: Source, shapes: RowShapes, settings: ReadingSettings) -> SourceRows:
    found = read_foreign(
        source,
        shapes.foreign,
        settings,
        record_of=shapes.record_of,
        kind=shapes.kind,
        key_template=shapes.key_template,
    )
    rest = [0] * (len(source.files) - 1)
    read = SourceRows(
        source,
        found.rows,
        n_rows=(len(found.rows), *rest),
        digests=(found.digest,),
        sound=np.ones(len(found.rows), bool),
        folder=settings.cache_folder,
        format="+".join(found.formats),
        dropped=found.dropped,
        first_dropped=found.first_dropped,
        passages=found.passages,
        group_sizes=found.group_sizes,
        rejected=() if found.rejected is None else (found.rejected,),
        n_incompletely_scored=found.left_out.get(INCOMPLETE_SCORES, 0),
    )
    read.notes += [f"left out: {n:,} {what}" for what, n in found.left_out.items()]
    if found.unread:
        read.unread += [(source.files[0], name) for name in found.unread]
        names = ", ".join(map(shown, found.unread))
        read.notes.append(
            f"{len(found.unread)} columns are not read, though known by name: {names}"
        )
    _refuse_ids(read)
    return read


def _refuse_ids(read: SourceRows) -> None:
    """Refuse rows whose candidates are ids instead of texts.

    Raises:
        DataError: the candidates of the first rows look like ids.
    """
    if read.passages is not None:
        return
    if "key" in read.rows.column_names and (
        sentence := ids_for_texts(read.rows.data.column("key"), read.sound)
    ):
        raise DataError.at(", ".join(read.source.files), sentence)


def _bad_rows(
    read: SourceRows,
    bad: NDArray[np.int64],
    kind: RowKind,
    found: Sequence[Sequence[str]],
    on_bad_row: OnBadRow,
) -> DataError:
    """Return the error for bad rows: a file's wrong shape if that explains them; else the faults.

    Args:
        read: the rows.
        bad: the numbers of the bad rows, ascending, ``[n_bad]`` int64.
        kind: the kind of the rows.
        found: the names of the columns of each file.
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
