"""Reads rows of foreign formats into a cached, memory-mapped dataset of canonical columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import xxhash

from llm_embedder_data.core.checked_json import (
    read_checked_json,
)
from llm_embedder_data.core.errors import DataError
from llm_embedder_data.core.files import locked
from llm_embedder_data.core.sealed_files import is_whole
from llm_embedder_data.rows.faults.row_locations import summary_of, with_files
from llm_embedder_data.rows.files.content_digest import content_digest
from llm_embedder_data.rows.foreign_rows.foreign_cache import ForeignReading, write_foreign
from llm_embedder_data.rows.passages.passages import Passages, opened_passages
from llm_embedder_data.rows.records.raw_files import RecordPlace
from llm_embedder_data.rows.records.rejected_files import (
    RejectedFile,
    has_rejected,
)
from llm_embedder_data.rows.schema.canonical_rows import Kind, Row
from llm_embedder_data.rows.schema.reading import CACHE_VERSION, make_folder, open_cached
from llm_embedder_data.rows.schema.row_kind import RowKind
from llm_embedder_data.rows.settings.key_templates import unless_default
from llm_embedder_data.rows.settings.reading_settings import ReadingSettings
from llm_embedder_data.rows.sources.native_shape import kind_of
from llm_embedder_data.rows.sources.source_content import SourceContent, content_of
from llm_embedder_data.rows.sources.sources import Source

# Part of every cache file's name. Raise it when the reader of a format returns other rows, or when
# the summary beside the cache file changes.
FORMATS_VERSION = 11


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
        key_template: the template of passages; None for that of the settings.

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
        *(kind, settings.on_bad_row, key_template or settings.key_template),
    )
    name = xxhash.xxh3_128_hexdigest(repr(identity).encode())
    cached = folder / f"rows-{name}.arrow"
    summary = _valid_summary(cached, folder)
    if summary is None:
        make_folder(folder)
        with locked(cached):
            summary = _valid_summary(cached, folder)
            if summary is None:
                reading = ForeignReading(source, row_kind, settings, record_of, kind, key_template)
                summary = write_foreign(cached, reading, content, folder)
    path_of = _paths_as_given(summary, content)
    digest = summary["digest"]
    template = unless_default(settings.key_template)
    if summary["passages"] and template is not None and not _has_template(source):
        # The template makes the texts that the rows' ids stand for.
        digest = xxhash.xxh3_128_hexdigest(repr((digest, template)).encode())
    return ForeignRows(
        with_files(open_cached(cached, name), map(path_of, summary["row_files"])),
        digest=digest,
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


def _has_template(source: Source) -> bool:
    """Return whether a source names a corpus with a template of its own."""
    corpus = source.reader_options.get("corpus")
    return isinstance(corpus, Mapping) and "key_template" in corpus


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
