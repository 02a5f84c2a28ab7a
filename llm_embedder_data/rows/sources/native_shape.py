"""Decides whether files hold rows in the native format, which is read column by column."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import xxhash

from llm_embedder_data.core.checked_json import (
    CHECKED_JSON_SUFFIX,
    read_checked_json,
    write_checked_json,
)
from llm_embedder_data.core.errors import DataError
from llm_embedder_data.rows.files.content_digest import content_digest
from llm_embedder_data.rows.files.file_formats import (
    ENDINGS,
    Format,
    declared_format,
    format_of,
)
from llm_embedder_data.rows.formats.detection import FORMATS, format_of_file
from llm_embedder_data.rows.formats.id_text import holds_texts
from llm_embedder_data.rows.formats.llm_embedder import LLM_EMBEDDER
from llm_embedder_data.rows.formats.passage_ids import candidates_in, nearly_all
from llm_embedder_data.rows.formats.passage_texts import IDS
from llm_embedder_data.rows.records.raw_files import RawFile
from llm_embedder_data.rows.records.renamed_fields import RenamedFields
from llm_embedder_data.rows.schema.canonical_rows import Kind
from llm_embedder_data.rows.schema.query_columns import QUERY_ID
from llm_embedder_data.rows.schema.row_kind import RowKind
from llm_embedder_data.rows.sources.reader_settings import CONTAINERS
from llm_embedder_data.rows.sources.sources import Source

# Part of the name of cached answers. Raise it when the answer for a file may change.
_VERSION = 4

# LLM-Embedder's files may call a query's id so, instead of ``query_id``.
QID = "qid"

_CANDIDATES = ("pos", "neg", "history")
_EVAL_FIELDS = ("pos_index", "key", "key_index", "pos", "neg")


def kind_of(row_kind: RowKind) -> Kind:
    """Return the kind of canonical rows that a kind of columns corresponds to."""
    if row_kind.name == "train":
        return "train"
    return "eval" if row_kind.name.startswith(("retrieve", "rerank")) else "corpus"


def is_native(source: Source, row_kind: RowKind, cache_folder: Path) -> bool:
    """Return whether all files of a source are in the native format, with nothing to join.

    The answer is cached by each file's content, so that the file is not opened again.

    Raises:
        DataError: a file is of a format that cannot be used.
    """
    if source.data is not None or source.reader_options:
        return False
    if any(Path(file).is_dir() for file in source.files):
        return False
    names = {LLM_EMBEDDER.name, *CONTAINERS}
    if source.format not in names:
        return False
    return all(_is_native(file, source, row_kind, cache_folder) for file in source.files)


def may_name_documents(source: Source, kind: RowKind, cache_folder: Path) -> bool:
    """Return whether candidates of a native source may be document ids instead of texts.

    They may be ids if nearly all candidates of a file are single words or not strings.

    Args:
        source: a source for which :func:`is_native` is true.
        kind: the kind of its rows.
        cache_folder: where the answer is cached, by the files' content.
    """
    names = tuple(column.field for column in kind.file_columns if column.name in _CANDIDATES)

    def of_file(path: str) -> bool:
        contents = ("candidates without blanks", names, content_digest(path, cache_folder))
        return bool(_remembered(cache_folder, contents, lambda: _are_words(path, names)))

    return any(map(of_file, source.files))


def container_format(path: str, format: str) -> Format:
    """Return the container of a native file: the given one, or what its ending or content shows."""
    if format in ("json", "parquet", "arrow"):
        return format  # type: ignore[return-value]
    try:
        return format_of(path, "auto")
    except DataError:  # the ending is unknown
        container = RawFile(path).container
        return "auto" if container == "table" else "json"


def id_column_of(source: Source, cache_folder: Path) -> str | None:
    """Return the column that holds the ids of a corpus's passages; None if there is none.

    The answer is cached by the content of the source's first file.

    Raises:
        DataError: the file cannot be read.
    """
    path = source.files[0]
    if source.data is not None or not Path(path).is_file():
        return None
    contents = ("id column", content_digest(path, cache_folder))
    name = _remembered(cache_folder, contents, lambda: _id_column(RawFile(path)))
    return name if isinstance(name, str) else None


def with_id_field(kind: RowKind, path: str, cache_folder: Path) -> RowKind:
    """Return a kind of rows that reads query ids from the column ``qid``, if the file has it.

    Args:
        kind: the kind of the rows. If the source names the column of query ids, it is returned
            unchanged.
        path: a native file.
        cache_folder: where the answer is cached, by the file's content.

    Raises:
        DataError: the file cannot be read.
    """
    reads_ids = any(column.name == QUERY_ID.name for column in kind.columns)
    if not reads_ids or QUERY_ID.name in dict(kind.fields):
        return kind
    contents = ("query id", content_digest(path, cache_folder))
    if _remembered(cache_folder, contents, lambda: _calls_ids_qid(path)):
        return replace(kind, fields=tuple(sorted((*kind.fields, (QUERY_ID.name, QID)))))
    return kind


# --------------------------------------------------------------------------------------------------


def _are_words(path: str, columns: Sequence[str]) -> bool:
    try:
        values = candidates_in(RawFile(path), columns)
    except DataError:  # reading the file later reports what is wrong
        return False
    n_words = sum(not isinstance(value, str) or len(value.split()) < 2 for value in values)
    return nearly_all(n_words, len(values))


def _calls_ids_qid(path: str) -> bool:
    file = RawFile(path)
    try:
        return QUERY_ID.name not in file.fields and any(map(_is_given_id, file.values(QID)))
    except DataError:  # reading the file later reports what is wrong
        return False


def _is_given_id(value: Any) -> bool:
    """Return whether a value is an id; pandas stores integers as floats if some are missing."""
    return type(value) in (int, str) or (type(value) is float and value.is_integer())


def _is_missing(value: Any) -> bool:
    return type(value) is float and math.isnan(value)


def _id_column(file: RawFile) -> str | None:
    try:
        for name in IDS:
            values = file.values(name)
            given = [value for value in values if not _is_missing(value)]
            if given and all(map(_is_given_id, given)):
                return name
    except DataError:  # reading the file later reports what is wrong
        pass
    return None


def _remembered(cache_folder: Path, contents: Any, find: Callable[[], Any]) -> Any:
    """Return the cached answer to a question, or find and cache it.

    Args:
        cache_folder: the folder of the cache.
        contents: what the answer depends on, and the question.
        find: returns the answer, as a value that JSON can hold.
    """
    name = xxhash.xxh3_128_hexdigest(repr((_VERSION, contents)).encode())
    cached = cache_folder / f"shape-{name}{CHECKED_JSON_SUFFIX}"
    remembered = read_checked_json(cached)
    if isinstance(remembered, dict) and "found" in remembered:
        return remembered["found"]
    found = find()
    with suppress(OSError):  # without the cached answer, the next call only takes longer
        cache_folder.mkdir(parents=True, exist_ok=True)
        write_checked_json(cached, {"found": found})
    return found


def _is_native(path: str, source: Source, row_kind: RowKind, cache_folder: Path) -> bool:
    contents = (
        *(content_digest(path, cache_folder), Path(path).parts[-2:], source.format),
        *(row_kind.name, row_kind.fields),
    )
    found = _remembered(cache_folder, contents, lambda: _has_native_shape(path, source, row_kind))
    return bool(found)


def _has_native_shape(path: str, source: Source, row_kind: RowKind) -> bool:
    columns = dict(row_kind.fields)
    rename = RenamedFields({name: (field,) for name, field in columns.items()}) if columns else None
    file = RawFile(path, tuple(columns.values()), rename=rename)
    try:
        if file.container not in ("lines", "array", "table"):
            return source.format in ("json", "parquet", "arrow")
        has_rows = bool(file.fields)
    except DataError:
        # Files with these endings are read column by column, which reports what is wrong.
        if source.format == "auto" and declared_format(path, "auto") not in ENDINGS.values():
            raise
        return True
    if not has_rows and not file.original_head:
        return True
    judge: Callable[[RawFile], bool] = {
        "train": _is_native_train,
        "eval": _is_native_eval,
        "corpus": lambda file: _is_native_corpus(file, row_kind),
    }[kind_of(row_kind)]
    return judge(file)


def _is_native_train(file: RawFile) -> bool:
    # A single native record is enough: reading column by column reports faults of the others.
    if not any(map(_is_native_row, file.head)):
        return _found(file, "train") is None
    if file.values("candidates") and not file.values("history"):
        return False
    first = next((format for format in FORMATS if format.recognizes(file)), LLM_EMBEDDER)
    if first.refusal is not None:
        raise DataError.at(file.path, first.refusal)
    return FORMATS.index(first) >= FORMATS.index(LLM_EMBEDDER)


def _is_native_row(record: Any) -> bool:
    return (
        isinstance(record, dict)
        and "query" in record
        and not isinstance(record["query"], list | dict)
        and any(isinstance(record.get(name), list) for name in _CANDIDATES)
    )


def _is_native_eval(file: RawFile) -> bool:
    if "relevant" in file.fields:
        return False
    if "query" in file.fields and set(_EVAL_FIELDS) & set(file.fields):
        return True
    return _found(file, "eval") is None


def _is_native_corpus(file: RawFile, row_kind: RowKind) -> bool:
    wanted = [column.field for column in row_kind.file_columns if column.kind == "text"]
    if "docid" in file.fields:  # such files mark a missing title as "-", which must be removed
        return False
    if "text" in wanted and "text" not in file.fields:
        return not holds_texts(file) and _found(file, "corpus") is None
    return True


def _found(file: RawFile, kind: Kind) -> str | None:
    """Return the name of a file's format; None if it has no known format.

    Raises:
        DataError: the file has a format that cannot be used, or could have either of two formats.
    """
    try:
        return format_of_file(file, kind).name
    except DataError:
        if any(format.recognizes(file) for format in FORMATS):
            raise
        return None
