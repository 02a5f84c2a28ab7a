"""Writes the cache file of rows of foreign formats, and a summary of what was read."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import xxhash

from llm_embedder_data.core.checked_json import (
    write_checked_json,
)
from llm_embedder_data.core.errors import DataError
from llm_embedder_data.core.file_errors import not_written
from llm_embedder_data.core.printable import one_line
from llm_embedder_data.core.sealed_files import sealed_file
from llm_embedder_data.rows.faults.row_locations import summary_of
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
from llm_embedder_data.rows.foreign_rows.source_reader import reader_of
from llm_embedder_data.rows.foreign_rows.texts_of_rows import TextsOfRows, texts_of_rows
from llm_embedder_data.rows.passages.passages import Passages
from llm_embedder_data.rows.records.raw_files import OPENED
from llm_embedder_data.rows.records.rejected_files import (
    write_rejected,
)
from llm_embedder_data.rows.records.rejected_records import gathering
from llm_embedder_data.rows.schema.canonical_rows import Kind, Row, has_passage_numbers
from llm_embedder_data.rows.schema.row_kind import RowKind
from llm_embedder_data.rows.settings.reading_settings import ReadingSettings
from llm_embedder_data.rows.sources.source_content import SourceContent
from llm_embedder_data.rows.sources.sources import Source


@dataclass(frozen=True, slots=True)
class ForeignReading:
    """A source and how its rows are read; the arguments are those of :func:`read_foreign`."""

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


def write_foreign(
    cached: Path, reading: ForeignReading, content: SourceContent, folder: Path
) -> dict[str, Any]:
    """Write the cache file of the rows of a source, and its summary; return the summary.

    Args:
        cached: the cache file.
        reading: the source and how it is read.
        content: the content of the files.
        folder: the folder of all caches.

    Raises:
        DataError: as for :func:`~llm_embedder_data.rows.foreign_rows.foreign_rows.read_foreign`; or
            a file changed while it was read.
    """
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


# --------------------------------------------------------------------------------------------------


def _write_rows(
    cached: Path,
    reading: ForeignReading,
    content: SourceContent,
    folder: Path,
    texts: TextsOfRows | None = None,
) -> dict[str, Any]:
    """Write the cache as :func:`write_foreign` does, if keys are all texts or all ids.

    Args:
        cached, reading, content, folder: as in :func:`write_foreign`.
        texts: the texts of the rows, if some rows name documents by id and others hold texts.

    Raises:
        MixedKeysError: ``texts`` is None, but some rows name documents by id and others hold texts.
        DataError: as for :func:`write_foreign`.
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


@contextmanager
def _noting_files() -> Iterator[set[str]]:
    """Collect the paths of the files that are opened inside the block."""
    opened: set[str] = set()
    token = OPENED.set(opened)
    try:
        yield opened
    finally:
        OPENED.reset(token)


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
