"""Reads rows of foreign formats into a cached, memory-mapped dataset of canonical columns."""

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
import xxhash

from llm_embedder_data.core.checked_json import (
    read_checked_json,
    write_checked_json,
)
from llm_embedder_data.core.errors import ConfigError, DataError
from llm_embedder_data.core.file_errors import not_written
from llm_embedder_data.core.files import locked
from llm_embedder_data.core.printable import one_line
from llm_embedder_data.core.sealed_files import is_whole, sealed_file
from llm_embedder_data.rows.faults.row_locations import summary_of, with_files
from llm_embedder_data.rows.files.content_digest import content_digest
from llm_embedder_data.rows.files.large_batches import LargeBatches
from llm_embedder_data.rows.foreign_rows.found_rows import Found
from llm_embedder_data.rows.foreign_rows.row_batches import (
    BATCH_ROWS,
    Location,
    MixedKeysError,
    RowBatches,
)
from llm_embedder_data.rows.foreign_rows.row_reader import RowReader
from llm_embedder_data.rows.foreign_rows.texts_of_rows import TextsOfRows, texts_of_rows
from llm_embedder_data.rows.passages.passages import Passages, opened_passages
from llm_embedder_data.rows.records.raw_files import OPENED, RecordPlace
from llm_embedder_data.rows.records.rejected_files import (
    RejectedFile,
    has_rejected,
    write_rejected,
)
from llm_embedder_data.rows.records.rejected_records import gathering
from llm_embedder_data.rows.schema.canonical_rows import Kind, Row, has_passage_numbers
from llm_embedder_data.rows.schema.reading import CACHE_VERSION, make_folder, open_cached
from llm_embedder_data.rows.schema.row_kind import RowKind
from llm_embedder_data.rows.settings.reading_settings import ReadingSettings
from llm_embedder_data.rows.sources.data_places import Place
from llm_embedder_data.rows.sources.native_shape import kind_of
from llm_embedder_data.rows.sources.source_content import SourceContent, content_of
from llm_embedder_data.rows.sources.sources import Source

# Part of every cache file's name. Raise it when the reader of a format returns other rows, or when
# the summary beside the cache file changes.
FORMATS_VERSION = 10


@dataclass(slots=True)
class ForeignRows:
    """Rows that were read from files of foreign formats.

    Attributes:
        rows: a memory-mapped dataset, with the columns of the rows' kind and the location of each
            row's record.
        digest: the digest of all files involved and the settings.
        formats: the names of the files' formats.
        dropped: the number of records that became no row, by reason.
        first_dropped: the location of the first of these records, by reason.
        left_out: the numbers of other things that were left out, by a description.
        unread: columns with canonical names, or names of a known format, that were not read.
        passages: the passages whose numbers are the keys; None if keys are texts.
        group_sizes: the number of keys per query that the rows of a file need, by its path; None if
            any number is possible.
        rejected: the first records that became no row, including those of a corpus.
    """

    rows: datasets.Dataset
    digest: str
    formats: list[str] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)
    first_dropped: dict[str, RecordPlace] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)
    passages: Passages | None = None
    group_sizes: dict[str, int | None] = field(default_factory=dict)
    rejected: RejectedFile | None = None


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

    The first call reads all files and writes a cache file. The cache file's name depends on the
    content of all files involved, the settings, and the version of the formats.

    Args:
        source: the source of the rows.
        row_kind: the kind of rows to make.
        settings: how the rows are read.
        record_of: returns a record with the fields of ``row_kind`` for a canonical row.
        kind: the kind of the canonical rows; None for that of ``row_kind``.
        key_template: the template of a corpus's passages; None for title and text.

    Raises:
        DataError: a row is bad and bad rows are not skipped, the format is unknown, or there is no
            row.
        ConfigError: a setting cannot be used.
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
    path_of = _paths_as_given(summary, content)
    return ForeignRows(
        with_files(open_cached(cached, name), map(path_of, summary["row_files"])),
        digest=summary["digest"],
        formats=summary["formats"],
        dropped=summary["dropped"],
        first_dropped={
            reason: (path_of(path), row, line)
            for reason, (path, row, line) in summary["first_dropped"].items()
        },
        left_out=summary["left_out"],
        unread=summary["unread"],
        passages=opened_passages(folder, summary["passages"]),
        group_sizes={path_of(path): size for path, size in summary["group_sizes"].items()},
        rejected=RejectedFile(
            cached,
            summary["n_rejected"],
            dict(zip(summary["digested"], content.digests, strict=True)),
        ),
    )


# --------------------------------------------------------------------------------------------------


def _valid_summary(cached: Path, folder: Path) -> dict[str, Any] | None:
    """Return the summary of a cache file; None if the cache file must be written again.

    It must be written again if its passages are missing, or if files changed that the source's
    files refer to, as they do in some formats.
    """
    summary = read_checked_json(summary_of(cached))
    if not isinstance(summary, dict) or not is_whole(cached):
        return None
    if not has_rejected(cached, summary["n_rejected"]):
        return None
    if not all(is_whole(folder / name) for name in summary["passages"] or ()):
        return None
    try:
        for path, digest in summary["further_files"].items():
            if content_digest(path, folder) != digest:
                return None
    except DataError:  # the file was deleted
        return None
    return summary


def _paths_as_given(summary: Mapping[str, Any], content: SourceContent) -> Callable[[str], str]:
    """Return a function from the path of a file in the summary to its current path.

    They differ if the cache was written for files of the same content at other paths.
    """
    given = dict(zip(summary["digested"], content.digests, strict=True))
    return lambda path: given.get(path, path)


@dataclass(frozen=True, slots=True)
class _Reading:
    source: Source
    row_kind: RowKind
    settings: ReadingSettings
    record_of: Callable[[Row], Mapping[str, Any]]
    kind: Kind
    key_template: str | None

    def reader(self) -> RowReader:
        """Return a new reader of the canonical rows."""
        return reader_of(self.source, self.settings, self.kind, self.key_template)

    def batches(self, passages: Passages | None) -> RowBatches:
        """Return a new converter of canonical rows; with passages, keys are their numbers."""
        on_bad_row = self.settings.on_bad_row
        return RowBatches(self.source, self.row_kind, self.record_of, on_bad_row, passages)


def reader_of(
    source: Source,
    settings: ReadingSettings,
    kind: Kind,
    key_template: str | None = None,
    *,
    keeps_ids: bool = False,
) -> RowReader:
    """Return a reader of the canonical rows of a source.

    Args:
        source: the source of the rows.
        settings: how the rows are read.
        kind: the kind of the rows.
        key_template: the template of a corpus's passages; None for title and text.
        keeps_ids: whether candidates that are texts carry the ids from their rows: see
            :mod:`~llm_embedder_data.rows.schema.identified_texts`.

    Raises:
        ConfigError: the source is streamed.
    """
    if source.streaming:
        raise ConfigError(
            f"dataset {source.name!r}: streamed rows cannot be read one by one (leave out "
            "streaming, so that the files are fetched whole)"
        )
    options: dict[str, Any] = {
        **source.reader_options,
        **{name: _as_list(columns) for name, columns in source.fields.items()},
        "format": None if source.format == "auto" else source.format,
        "data_root": settings.data_root,
        "cache_dir": settings.cache_folder,
        "on_bad_row": settings.on_bad_row,
        "key_template": key_template,
    }
    return RowReader(_places_of(source), kind=kind, keeps_ids=keeps_ids, **options)


def _places_of(source: Source) -> Any:
    """Return all files of a source as one place, so that the corpus they share is read once."""
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
    """Collect the paths of the files that are opened inside the block."""
    opened: set[str] = set()
    token = OPENED.set(opened)
    try:
        yield opened
    finally:
        OPENED.reset(token)


def _write(cached: Path, reading: _Reading, content: SourceContent, folder: Path) -> dict[str, Any]:
    """Write the cache file and its summary; return the summary."""
    try:
        return _write_rows(cached, reading, content, folder)
    except MixedKeysError:
        texts = texts_of_rows(
            folder,
            content.digests,
            cached.stem,
            reading.reader(),
            skips_bad_rows=reading.settings.on_bad_row == "skip",
        )
        return _write_rows(cached, reading, content, folder, texts)


def _write_rows(
    cached: Path,
    reading: _Reading,
    content: SourceContent,
    folder: Path,
    texts: TextsOfRows | None = None,
) -> dict[str, Any]:
    """Write the cache file and its summary; return the summary.

    Args:
        cached: the cache file.
        reading: the source and how it is read.
        content: the content of the files.
        folder: the folder of all caches.
        texts: the texts of the rows, if some rows name documents by id and others hold texts.

    Raises:
        MixedKeysError: ``texts`` is None, but some rows name documents by id and others hold texts.
        DataError: as for :func:`read_foreign`; or a file changed while it was read.
    """
    what = f"the cache of {one_line(reading.source.name)}"
    reader = reading.reader()
    if texts is not None:
        reader.passages = texts.passages
    with _noting_files() as opened, gathering() as rejected:
        try:
            with sealed_file(cached) as file:
                rows = reader.numbered_rows() if texts is None else texts.numbered(reader)
                located = ((row, reader.at) for row in rows)
                first = _until_keys(located, reading.row_kind)
                numbered = bool(first) and has_passage_numbers(first[-1][0])
                passages = reader.passages if numbered else None
                writing = reading.batches(passages)
                with LargeBatches(file, writing.schema) as writer:
                    for row, at in chain(first, located):
                        if (batch := writing.add(row, at)) is not None:
                            writer.write_batch(batch)
                    writer.write_batch(writing.rest())
                if texts is not None:
                    writing.dropped.update(texts.dropped)
                    writing.first_dropped.update(texts.first_dropped)
                if writing.n_rows == 0:
                    raise _no_rows(reading.source, reader.report)
                _check_unchanged(content, folder)
        except OSError as error:
            raise not_written(what, cached.parent, error) from error
    further = {
        path: content_digest(path, folder)
        for path in sorted(opened)
        if path not in content.digests and os.path.isfile(path)
    }
    summary = _summary(reader.report, writing, content, further)
    try:
        summary["n_rejected"] = write_rejected(cached, rejected)
        write_checked_json(summary_of(cached), summary)
    except OSError as error:
        raise not_written(what, cached.parent, error) from error
    return summary


def _until_keys(
    rows: Iterator[tuple[Row, Location | None]], row_kind: RowKind
) -> list[tuple[Row, Location | None]]:
    """Return the rows up to the first row that shows whether keys are texts or numbers."""
    first = []
    for row, at in rows:
        first.append((row, at))
        if row_kind.of_passages is None or has_passage_numbers(row) is not None:
            break
        if len(first) == BATCH_ROWS:
            break
    return first


def _check_unchanged(content: SourceContent, folder: Path) -> None:
    for path, digest in content.digests.items():
        if os.path.isfile(path) and content_digest(path, folder) != digest:
            raise DataError.at(path, "changed while it was read (start again when it is complete)")


def _summary(
    report: list[Found], writing: RowBatches, content: SourceContent, further: Mapping[str, str]
) -> dict[str, Any]:
    dropped, left_out = Counter(writing.dropped), Counter[str]()
    first_dropped = dict(writing.first_dropped)
    for found in report:
        dropped.update(found.dropped)
        first_dropped = found.first_dropped | first_dropped
        left_out.update(found.left_out - found.dropped)
    digest = content.digest
    if further:
        digest = xxhash.xxh3_128_hexdigest(repr((digest, list(further.values()))).encode())
    beside = ("queries", "judgments", "negatives", "scores")
    formats = [found.format for found in report if found.n_rows and found.format not in beside]
    if len(formats) > 1:  # do not count the format of the corpus that rows are joined to
        formats = [name for name in formats if name != "id_text"] or formats
    return {
        "digest": digest,
        "formats": list(dict.fromkeys(formats)),
        "dropped": dict(dropped),
        "first_dropped": first_dropped,
        "left_out": dict(left_out),
        "unread": list(dict.fromkeys(name for found in report for name in found.unread)),
        "row_files": writing.files,
        "digested": list(content.digests),
        "further_files": dict(further),
        "passages": writing.passage_files,
        "group_sizes": {path: n for found in report for path, n in found.group_sizes.items()},
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
