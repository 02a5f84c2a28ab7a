"""Rows of other people's formats as a memory-mapped dataset of canonical columns, cached."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import xxhash

from llm_embedder_data.core.checked_json import (
    read_checked_json,
    write_checked_json,
)
from llm_embedder_data.core.errors import DataError
from llm_embedder_data.core.file_errors import reason, remedy
from llm_embedder_data.core.files import locked
from llm_embedder_data.core.printable import one_line
from llm_embedder_data.core.sealed_files import is_whole, sealed_file
from llm_embedder_data.rows.canonical_rows import Kind, Row, has_numbers
from llm_embedder_data.rows.columns.column import Faults
from llm_embedder_data.rows.columns.records import columns_of_records
from llm_embedder_data.rows.data_places import Place
from llm_embedder_data.rows.files.content_digest import content_digest
from llm_embedder_data.rows.native_shape import kind_of
from llm_embedder_data.rows.passage_files import PassageFile
from llm_embedder_data.rows.passages import Passages
from llm_embedder_data.rows.raw_files import OPENED
from llm_embedder_data.rows.reading import CACHE_VERSION, make_folder, open_cached
from llm_embedder_data.rows.reading_settings import ReadingSettings
from llm_embedder_data.rows.row_locations import LOCATION_COLUMNS, summary_of
from llm_embedder_data.rows.row_reader import Found, RowReader
from llm_embedder_data.rows.schema.row_kind import RowKind
from llm_embedder_data.rows.source_content import SourceContent, content_of
from llm_embedder_data.rows.sources import Source

# Part of every cache file's name. Raise it when a reader of a format gives other rows.
FORMATS_VERSION = 2

_BATCH_ROWS = 1000


@dataclass(slots=True)
class ForeignRows:
    """Rows that were read from files of other formats.

    Attributes:
        rows: memory-mapped, with the columns of their kind and where each came from.
        digest: of all files involved and the settings.
        formats: names of the formats that the files have.
        dropped: records that gave no row, counted by reason.
        left_out: whatever else was left out, counted by what it is.
        unread: columns that have names of ours or of a known format, and were not read.
        found: sentences on what each file is.
        passages: that keys are numbers of; None if they are texts.
    """

    rows: datasets.Dataset
    digest: str
    formats: list[str] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)
    found: list[str] = field(default_factory=list)
    passages: Passages | None = None


def read_foreign(
    source: Source,
    row_kind: RowKind,
    settings: ReadingSettings,
    *,
    record_of: Callable[[Row], Mapping[str, Any]],
    kind: Kind | None = None,
    key_template: str | None = None,
) -> ForeignRows:
    """Return the rows of a source of any format.

    The first call reads all files and writes a cache file. It is found by the content of all files
    involved, the settings, and the version of the formats.

    Args:
        source: where the rows are.
        row_kind: what the rows become.
        settings: how they are read.
        record_of: makes a record with the fields of ``row_kind`` from a canonical row.
        kind: of the canonical rows; None for that of ``row_kind``.
        key_template: of the passages of a corpus; None for title and text.

    Raises:
        DataError: a bad row, and bad rows are not to be skipped; data of no known format; no row.
        ConfigError: a setting that cannot be used.
    """
    folder = settings.cache_folder
    kind = kind_of(row_kind) if kind is None else kind
    content = content_of(source, kind, settings.data_root, folder)
    names = [Path(file).parts[-2:] for file in content.digests]
    identity = (
        *(FORMATS_VERSION, CACHE_VERSION, content.digest, names, row_kind.name, row_kind.fields),
        *(kind, settings.on_bad_row, key_template),
    )
    name = xxhash.xxh3_128_hexdigest(repr(identity).encode())
    cached = folder / f"rows-{name}.arrow"
    summary = _valid_summary(cached, folder)
    if summary is None:
        make_folder(folder)
        with locked(cached):
            summary = _valid_summary(cached, folder)
            if summary is None:
                reading = _Reading(source, row_kind, settings, record_of, kind, key_template)
                summary = _write(cached, reading, content, folder)
    return ForeignRows(
        open_cached(cached, name),
        digest=summary["digest"],
        formats=summary["formats"],
        dropped=summary["dropped"],
        left_out=summary["left_out"],
        unread=summary["unread"],
        found=summary["found"],
        passages=_opened_passages(summary, folder),
    )


# --------------------------------------------------------------------------------------------------


def _valid_summary(cached: Path, folder: Path) -> dict[str, Any] | None:
    """Return the summary of a cache file; None if it has to be written again.

    Some formats name further files in their content. These must still be as they were, and so must
    the passages that keys are numbers of.
    """
    summary = read_checked_json(summary_of(cached))
    if not isinstance(summary, dict) or not is_whole(cached):
        return None
    if not all(is_whole(folder / name) for name in summary["passages"] or ()):
        return None
    try:
        for path, digest in summary["further_files"].items():
            if content_digest(path, folder) != digest:
                return None
    except DataError:  # it is gone
        return None
    return summary


def _opened_passages(summary: Mapping[str, Any], folder: Path) -> Passages | None:
    if summary["passages"] is None:
        return None
    return Passages(PassageFile(folder / name) for name in summary["passages"])


class _MixedKeys(Exception):
    """Some rows name documents by id, and others hold their texts."""


@dataclass(frozen=True, slots=True)
class _Reading:
    source: Source
    row_kind: RowKind
    settings: ReadingSettings
    record_of: Callable[[Row], Mapping[str, Any]]
    kind: Kind
    key_template: str | None

    def reader(self) -> RowReader:
        """Return what reads the source's rows."""
        source = self.source
        settings: dict[str, Any] = {
            **source.reader_options,
            **{name: _as_list(columns) for name, columns in source.fields.items()},
            "format": None if source.format == "auto" else source.format,
            "data_root": self.settings.data_root,
            "cache_dir": self.settings.cache_folder,
            "on_bad_row": self.settings.on_bad_row,
            "key_template": self.key_template,
        }
        return RowReader(self._places(), kind=self.kind, **settings)

    def _places(self) -> Any:
        """Return the files as one place, so that a corpus beside them is read once."""
        source = self.source
        if source.data is not None:
            return Place(name=source.files[0], data=source.data)
        files = tuple(file for file in source.files if not os.path.isdir(file))
        places: list[Any] = [file for file in source.files if os.path.isdir(file)]
        if files:
            name = files[0] if len(files) == 1 else source.name
            places.append(Place(name=name, files=files))
        return places


def _as_list(columns: str | tuple[str, ...]) -> str | list[str]:
    return columns if isinstance(columns, str) else list(columns)


@contextmanager
def _noting_files() -> Iterator[set[str]]:
    opened: set[str] = set()
    token = OPENED.set(opened)
    try:
        yield opened
    finally:
        OPENED.reset(token)


def _write(cached: Path, reading: _Reading, content: SourceContent, folder: Path) -> dict[str, Any]:
    """Write the cache file and its summary; return the summary."""
    try:
        return _write_rows(cached, reading, content, folder, as_texts=False)
    except _MixedKeys:
        return _write_rows(cached, reading, content, folder, as_texts=True)


def _write_rows(
    cached: Path, reading: _Reading, content: SourceContent, folder: Path, *, as_texts: bool
) -> dict[str, Any]:
    reader = reading.reader()
    with _noting_files() as opened:
        try:
            with sealed_file(cached) as file:
                rows = iter(reader.rows() if as_texts else reader.numbered_rows())
                first = next(rows, None)
                writing = _Batches(reading, reader, first)
                with pa.ipc.new_stream(file, writing.schema) as writer:
                    for row in rows if first is None else chain([first], rows):
                        if (batch := writing.add(row)) is not None:
                            writer.write_batch(batch)
                    writer.write_batch(writing.rest())
                if writing.n_rows == 0:
                    raise _no_rows(reading.source, reader.report)
                _check_unchanged(content, folder)
        except OSError as error:
            raise DataError.at(
                str(cached.parent),
                f"the cache of {one_line(reading.source.name)} could not be written: "
                f"{reason(error)} ({remedy(error)})",
            ) from error
    further = {
        path: content_digest(path, folder)
        for path in sorted(opened)
        if path not in content.digests and os.path.isfile(path)
    }
    summary = _summary(reader.report, writing, content, further)
    try:
        write_checked_json(summary_of(cached), summary)
    except OSError as error:
        raise DataError.at(
            str(cached.parent), f"the cache could not be written: {reason(error)} ({remedy(error)})"
        ) from error
    return summary


def _check_unchanged(content: SourceContent, folder: Path) -> None:
    for path, digest in content.digests.items():
        if os.path.isfile(path) and content_digest(path, folder) != digest:
            raise DataError.at(path, "changed while it was read (start again when it is complete)")


def _summary(
    report: list[Found], writing: _Batches, content: SourceContent, further: Mapping[str, str]
) -> dict[str, Any]:
    dropped, left_out = Counter(writing.dropped), Counter[str]()
    for found in report:
        dropped.update(found.dropped)
        left_out.update(found.left_out - found.dropped)
    digest = content.digest
    if further:
        digest = xxhash.xxh3_128_hexdigest(repr((digest, list(further.values()))).encode())
    beside = ("queries", "judgments", "negatives", "scores")
    formats = [found.format for found in report if found.n_rows and found.format not in beside]
    if len(formats) > 1:  # the corpus that rows are joined to is not theirs
        formats = [name for name in formats if name != "id_text"] or formats
    return {
        "digest": digest,
        "formats": list(dict.fromkeys(formats)),
        "dropped": dict(dropped),
        "left_out": dict(left_out),
        "unread": list(dict.fromkeys(name for found in report for name in found.unread)),
        "found": [str(found) for found in report],
        "row_files": writing.files,
        "further_files": dict(further),
        "passages": writing.passage_files,
    }


def _no_rows(source: Source, report: list[Found]) -> DataError:
    reasons = Counter[str]()
    for found in report:
        reasons.update(found.left_out)
    counted = ", ".join(f"{n:,} {why}" for why, n in reasons.most_common())
    return DataError.at(
        ", ".join(source.files),
        f"no row is left of dataset {source.name!r}: left out were {counted or 'none'} (correct "
        "the rows, or leave the source out)",
    )


class _Batches:
    """Canonical rows to batches of columns.

    Attributes:
        files: that rows came from, in the order of the column ``source_file``.
        dropped: rows that break a rule of their kind, by what is wrong.
        n_rows: rows in the batches so far.
    """

    def __init__(self, reading: _Reading, reader: RowReader, first: Row | None) -> None:
        self._reading, self._reader = reading, reader
        self._kind, self._passages = reading.row_kind, None
        if first is not None and has_numbers(first) and self._kind.of_passages is not None:
            self._passages = reader.passages
            self._kind = self._kind.of_passages(reader.passages)
        self._records: list[Mapping[str, Any]] = []
        self._locations: list[tuple[int | None, int | None, int | None]] = []
        self._numbers: dict[str, int] = {}
        self.dropped: Counter[str] = Counter()
        self.n_rows = 0

    @property
    def schema(self) -> pa.Schema:
        """The schema of all batches."""
        return pa.schema([*self._kind.schema, *LOCATION_COLUMNS])

    @property
    def files(self) -> list[str]:
        return list(self._numbers)

    @property
    def passage_files(self) -> list[str] | None:
        """The names of the files of passages that keys are numbers of; None if they are texts."""
        if self._passages is None:
            return None
        return [corpus.path.name for corpus in self._passages.corpora]

    def add(self, row: Row) -> pa.RecordBatch | None:
        """Take a row; return a batch if enough rows have come.

        Raises:
            _MixedKeys: the row has keys of another kind than the first one.
        """
        numbered = has_numbers(row)
        if numbered is not None and numbered != (self._passages is not None):
            raise _MixedKeys
        self._records.append(self._reading.record_of(row))
        at = self._reader.at
        if at is None:
            self._locations.append((None, None, None))
        else:
            path, record = at
            number = self._numbers.setdefault(path, len(self._numbers))
            self._locations.append((number, record.row, record.line))
        return self.rest() if len(self._records) >= _BATCH_ROWS else None

    def rest(self) -> pa.RecordBatch:
        """Return a batch of the rows that have not been returned.

        Raises:
            DataError: a row breaks a rule of its kind, and bad rows are not to be skipped.
        """
        kind, records, locations = self._kind, self._records, self._locations
        self._records, self._locations = [], []
        faults: Faults = [None] * len(records)
        columns = columns_of_records(records, kind.file_columns, faults)
        batch = kind.build(columns, faults)
        arrays = [
            pa.array([location[i] for location in locations], type_)
            for i, (_, type_) in enumerate(LOCATION_COLUMNS)
        ]
        batch = pa.RecordBatch.from_arrays([*batch.columns, *arrays], schema=self.schema)
        fault = batch.column("fault")
        if fault.null_count < len(batch):
            self._check(fault.to_pylist(), locations)
            batch = batch.filter(fault.is_null())
        self.n_rows += len(batch)
        return batch

    def _check(
        self,
        faults: list[str | None],
        locations: list[tuple[int | None, int | None, int | None]],
    ) -> None:
        files = self.files
        for fault, (file, row, line) in zip(faults, locations, strict=True):
            if fault is None:
                continue
            if self._reading.settings.on_bad_row == "raise":
                path = self._reading.source.files[0] if file is None else files[file]
                raise DataError.at(
                    path, f"{fault} (data.on_bad_row=skip leaves such rows out)", row=row, line=line
                )
            self.dropped[fault] += 1
