"""Corpora: the passages that queries are matched against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llm_embedder_data.core.errors import DataError, did_you_mean
from llm_embedder_data.core.printable import one_line
from llm_embedder_data.rows.faults.row_errors import require_rows
from llm_embedder_data.rows.files.first_records import field_names
from llm_embedder_data.rows.records.raw_files import RecordPlace
from llm_embedder_data.rows.records.rejected_files import RejectedFile
from llm_embedder_data.rows.schema.canonical_rows import Row
from llm_embedder_data.rows.schema.corpus import ID_COLUMNS, corpus_column, corpus_rows
from llm_embedder_data.rows.schema.row_kind import RowKind
from llm_embedder_data.rows.settings.field_names import columns_by_field
from llm_embedder_data.rows.settings.key_templates import DEFAULT_KEY_TEMPLATE, parse_template
from llm_embedder_data.rows.settings.reading_settings import ReadingSettings
from llm_embedder_data.rows.source_rows.row_numbers import numbers_where
from llm_embedder_data.rows.source_rows.source_rows import RowShapes, SourceRows, read_source
from llm_embedder_data.rows.sources.native_shape import id_column_of
from llm_embedder_data.rows.sources.sources import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """The passages of a source. A passage's index is the row number of its record.

    Attributes:
        name: the name of the dataset.
        files: the files, in the order in which their rows are counted.
        digests: the digests of the files' content.
        template: the text of a key, with the names of fields in braces.
        fields: the fields of the template.
        columns: (field, column that it is read from), for native files; empty for files of other
            formats, whose digests cover the settings of the source.
        rows: a memory-mapped dataset with a string column per field, named by its index in
            ``fields``, and ``fault``: what is wrong with a record, or null.
        id_rows: the same rows with the columns of ``ID_COLUMNS``; None if passages have no ids.
        kept: the numbers of the rows that are used, ascending, ``[n]`` int64.
        n_rows: the number of rows of each file.
        n_read: the number of records in the files.
        dropped: the number of records that are not used, by reason.
        dropped_rows: the numbers of the rows that are not used, ascending, ``[m]`` int64, by
            reason. Records that became no row have no number.
        first_dropped: the location of the first record that became no row, by reason.
        rejected: the first records that became no row, with their content.
        format: the format of the files, a name of :mod:`llm_embedder_data.rows.formats`.
        notes: sentences for the report and the log.
    """

    name: str
    files: tuple[str, ...]
    digests: tuple[str, ...]
    template: str
    fields: tuple[str, ...]
    rows: datasets.Dataset
    kept: NDArray[np.int64]
    n_rows: tuple[int, ...]
    n_read: int
    dropped: Mapping[str, int]
    dropped_rows: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    first_dropped: Mapping[str, RecordPlace] = field(default_factory=dict)
    rejected: tuple[RejectedFile, ...] = ()
    id_rows: datasets.Dataset | None = None
    format: str = "id_text"
    columns: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()

    def ids(self) -> pa.StringArray:
        """Return the id of each row as text, ``[n_rows]``; its number if the file gives no id."""
        numbers = pa.array(np.arange(len(self.rows))).cast(pa.string())
        return pc.coalesce(self.own_ids(), numbers)

    def own_ids(self) -> pa.StringArray:
        """Return the id of each row in its file as text, ``[n_rows]``; null if it has none."""
        if self.id_rows is None:
            return pa.nulls(len(self.rows), pa.string())
        of_int, of_str = (self.id_rows.data.column(name).combine_chunks() for name in ID_COLUMNS)
        return pc.coalesce(of_str, of_int.cast(pa.string()))

    def text(self, row: int) -> str:
        """Return the key text of a row, without instruction."""
        return self.texts(np.array([row]))[0]

    def texts(self, rows: NDArray[np.int64]) -> list[str]:
        """Return the key texts of rows, without instruction. A null field counts as empty.

        Args:
            rows: row numbers, ``[m]`` int64.
        """
        columns = self.rows[rows.tolist()]
        filled = parse_template(self.template).filled
        texts = []
        names = map(corpus_column, range(len(self.fields)))
        for values in zip(*(columns[name] for name in names), strict=True):
            text = filled([value or "" for value in values])
            texts.append(text if all(values) else text.strip())
        return texts


def build_corpus(
    source: Source, reading: ReadingSettings, *, key_template: str = DEFAULT_KEY_TEMPLATE
) -> Corpus:
    """Build the corpus of a source.

    It is an error if no record has a field of the template. With the default template, titles may
    be missing: a key is then the text alone, and a note says so.

    Args:
        source: the source of the records.
        reading: how the records are read.
        key_template: the text of a key, unless the source has a template.

    Raises:
        ConfigError: the template holds more than plain field names.
        DataError: a row is bad, no record has a field of the template, or no row is left.
    """
    template, setting = key_template, "data.key_template"
    if source.key_template is not None:
        template = source.key_template
        setting = f"data.corpus.{one_line(source.name)}.key_template"
    fields = parse_template(template, setting).fields
    native, columns = _native_kind(source, fields, reading)
    foreign = corpus_rows(1, has_ids=True)
    read = read_source(source, RowShapes(native, foreign, _record, key_template=template), reading)
    if read.is_native:
        assert native is not None
        _check_fields(read, template, fields, columns)
        of_id = native.fields[len(fields) :]
        columns_read = (*((name, columns[name]) for name in fields), *of_id)
    else:
        template, fields, columns_read = "{text}", ("text",), ()
    corpus = Corpus(
        name=source.name,
        files=source.files,
        digests=read.digests,
        template=template,
        fields=fields,
        rows=read.rows.select_columns([*map(corpus_column, range(len(fields))), "fault"]),
        id_rows=read.rows if ID_COLUMNS[0] in read.rows.column_names else None,
        kept=numbers_where(read.sound, read.folder),
        n_rows=read.n_rows,
        n_read=len(read.rows) + sum(read.dropped.values()),
        dropped={**read.dropped, **read.count_bad()},
        dropped_rows={"bad_row": numbers_where(~read.sound, read.folder)},
        first_dropped=read.first_dropped,
        rejected=read.rejected,
        format=read.format,
        columns=columns_read,
        notes=tuple(read.notes),
    )
    require_rows(corpus)
    return corpus


def _native_kind(
    source: Source, fields: Sequence[str], reading: ReadingSettings
) -> tuple[RowKind | None, dict[str, str]]:
    """Return the kind of rows for native files of a corpus, and the column of each field.

    The kind is None if the source names columns in a way that only readers of foreign formats
    understand.
    """
    renamed = {name: column for name, column in source.fields.items() if isinstance(column, str)}
    if len(renamed) < len(source.fields) or not set(renamed) <= {*fields, "id"}:
        return None, {}
    columns = columns_by_field(fields, renamed, f"source {source.name!r}")
    id_column = renamed.get("id") or id_column_of(source, reading.cache_folder)
    kind = corpus_rows(len(fields), has_ids=id_column is not None)
    of_template = [(corpus_column(i), columns[name]) for i, name in enumerate(fields)]
    of_id = [] if id_column is None else [("id", id_column)]
    return replace(kind, fields=(*of_template, *of_id)), columns


def _record(row: Row) -> Mapping[str, str]:
    """Return a canonical corpus row as a record with the columns for the template ``{text}``."""
    return {corpus_column(0): row["text"], "id": row["id"]}


def _check_fields(
    read: SourceRows, template: str, fields: Sequence[str], columns: Mapping[str, str]
) -> None:
    """Check that some record has each field of a template; add a note on a missing title.

    Args:
        read: the records; notes are added to it.
        template: the template of the keys.
        fields: the fields of the template.
        columns: the column that each field is read from.

    Raises:
        DataError: no record has a field of the template.
    """
    missing = [
        name
        for i, name in enumerate(fields)
        if read.rows.data.column(corpus_column(i)).null_count == len(read.rows)
    ]
    if not missing or not read.sound.any():
        return
    source = read.source
    found = sorted(field_names(source.files[0], read.container))
    near = "".join(did_you_mean(columns[name], found) for name in missing)
    if template != DEFAULT_KEY_TEMPLATE or missing == list(fields) or near:
        raise DataError.at(
            ", ".join(source.files),
            f"no record has the field {', '.join(repr(columns[name]) for name in missing)} of "
            f"key_template={template!r}; there are {', '.join(map(one_line, found))}{near} "
            "(correct data.key_template, or give this source a key_template)",
        )
    lacking = ", ".join(columns[name] for name in missing)
    left = " and ".join(columns[name] for name in fields if name not in missing)
    read.notes.append(f"no record has a {lacking}: the key text is the {left} alone")
