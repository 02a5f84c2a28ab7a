"""Reads Arrow and Parquet files so that a damaged file cannot crash this process.

Another process reads the files, checks everything, and sends columns of plain types: see
:mod:`llm_embedder_data.rows.files.table_process`. It decodes while this process works.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.rows.files.compression import compression_suffix
from llm_embedder_data.rows.files.file_formats import Format
from llm_embedder_data.rows.files.table_process.checked_slices import checked_slices, row_slices
from llm_embedder_data.rows.files.table_process.file_batches import names_of_columns
from llm_embedder_data.rows.files.table_process.plain_columns import Kinds
from llm_embedder_data.rows.files.table_process.table_messages import (
    BATCH,
    BYTES_PER_SECOND,
    DONE,
    ERROR,
    NAMES,
    PROGRESS,
    Unreadable,
    serialized,
)
from llm_embedder_data.rows.files.table_readers import PATIENCE_SECONDS, give_back, take_reader
from llm_embedder_data.rows.files.watched_reads import report_read


def table_slices(path: str, file_format: Format, kinds: Kinds) -> Iterator[pa.RecordBatch]:
    """Yield the wanted columns of a file, some rows at a time: see :func:`.checked_slices`.

    Args:
        path: the file.
        file_format: ``"parquet"`` or ``"arrow"``.
        kinds: the kinds of values that each wanted column must hold, by its name in the file.

    Raises:
        DataError: the file is damaged, or a column cannot be used.
    """
    for letter, content in _answers(path, file_format, kinds):
        if letter == BATCH:
            yield pa.ipc.open_stream(content).read_next_batch()


def table_columns(path: str, file_format: Format) -> list[str]:
    """Return the names of a file's columns.

    Raises:
        DataError: the file is damaged.
    """
    names: list[str] = []
    for letter, content in _answers(path, file_format, None):
        if letter == NAMES:
            names = json.loads(content.to_pybytes())
    return names


def table_rows(path: str, file_format: Format, most: int | None = None) -> Iterator[pa.RecordBatch]:
    """Yield all columns of a file, some rows at a time: see :func:`.row_slices`.

    Args:
        path: the file.
        file_format: ``"parquet"`` or ``"arrow"``.
        most: the number of rows to read; None reads all.

    Raises:
        DataError: the file is damaged.
    """
    for letter, content in _answers(path, file_format, None, {"most": most}):
        if letter == BATCH:
            yield pa.ipc.open_stream(content).read_next_batch()


# --------------------------------------------------------------------------------------------------


def _answers(
    path: str,
    file_format: Format,
    kinds: Kinds | None,
    rows: Mapping[str, int | None] | None = None,
) -> Iterator[tuple[bytes, Any]]:
    """Yield the (letter, content) of each answer to a request, except the last.

    Args:
        path: the file.
        file_format: ``"parquet"`` or ``"arrow"``.
        kinds: as for :func:`table_slices`.
        rows: ``{"most": ...}`` asks for all columns, as :func:`table_rows` does. If this and
            ``kinds`` are None, the request is for the columns' names.

    Raises:
        DataError: the file is damaged, a column cannot be used, or the whole file is compressed.
    """
    if rows is None and (suffix := compression_suffix(path)):
        raise DataError.at(
            path,
            f"a {file_format} file that is compressed as a whole ({suffix}) cannot be read "
            "(decompress it; both formats can compress their columns themselves)",
        )
    request: dict[str, Any] = {"path": os.path.abspath(path), "format": file_format, "kinds": kinds}
    reader = take_reader(request | dict(rows or {}))
    if reader is None:
        yield from _answers_of_this_process(path, file_format, kinds, rows)
        return
    is_finished = False
    try:
        patience = PATIENCE_SECONDS + os.path.getsize(path) / BYTES_PER_SECOND
        while True:
            letter, content = reader.answer(patience)
            is_finished = letter in (DONE, ERROR)
            if letter == DONE:
                return
            if letter == ERROR:
                kind, sentence = json.loads(content.to_pybytes())
                raise _error(path, file_format, kind, sentence)
            if letter == b"":
                raise _cannot_be_read(path, file_format, reader.why_ended(path, patience))
            if letter == PROGRESS:
                report_read(path, json.loads(content.to_pybytes()))
            else:
                yield letter, content
    finally:
        if is_finished:
            give_back(reader)
        else:
            reader.kill()


def _answers_of_this_process(
    path: str, file_format: Format, kinds: Kinds | None, rows: Mapping[str, int | None] | None
) -> Iterator[tuple[bytes, Any]]:
    """Read in this process, which a damaged file may crash; used if no other can be started."""
    try:
        if rows is not None:
            for batch in row_slices(path, file_format, rows["most"]):
                yield BATCH, serialized(batch)
            return
        if kinds is None:
            names = json.dumps(names_of_columns(path, file_format))
            yield NAMES, pa.py_buffer(names.encode())
            return
        for batch in checked_slices(path, file_format, kinds):
            yield BATCH, serialized(batch)
    except Unreadable as error:
        raise _error(path, file_format, "unreadable", str(error)) from error
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise _error(path, file_format, type(error).__name__, str(error)) from error


def _error(path: str, file_format: Format, kind: str, sentence: str) -> DataError:
    if kind == "unreadable":
        return DataError.at(path, _printable(sentence))
    if kind in ("MemoryError", "ArrowMemoryError"):
        return _cannot_be_read(
            path, file_format, f"it needs more memory than is available: {sentence}"
        )
    return _cannot_be_read(path, file_format, sentence or kind)


def _cannot_be_read(path: str, file_format: Format, why: str) -> DataError:
    return DataError.at(
        path,
        f"cannot be read as {file_format}: {_printable(why)} (is it complete, and is its "
        "ending right?)",
    )


def _printable(text: str) -> str:
    """Escape line breaks and control characters, which a damaged file may put into a message."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
