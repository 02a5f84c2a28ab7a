"""JSON files: one record per line, or one array of records."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import orjson
import pyarrow as pa

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.core.file_errors import is_a_limit
from llm_embedder_data.rows.files.compression import compression_suffix, opened
from llm_embedder_data.rows.files.file_formats import Format, real_format
from llm_embedder_data.rows.files.json_text import array_blocks, first_elements
from llm_embedder_data.rows.files.lines import head_lines, line_blocks, lines_of_rows
from llm_embedder_data.rows.files.signatures import (
    BYTE_ORDER_MARK,
    compression_of,
    head_of,
    unsupported_content,
)
from llm_embedder_data.rows.files.unreadable_files import unreadable

# Bytes of JSON per block. Converting a block takes about twice its memory in addition.
BLOCK_BYTES = 4 << 20

# The first records of a file are looked for in this many bytes.
_HEAD_BYTES = 1 << 18


def json_blocks(path: str) -> Iterator[memoryview | list[Any]]:
    """Yield the records of a file in blocks: whole lines, or lists of an array's elements.

    Raises:
        DataError: the file cannot be read, or is not JSON.
    """
    try:
        _check_content(path)
        if not _is_array(path):
            yield from line_blocks(path, BLOCK_BYTES)
            return
        with opened(path) as file:
            content: bytes = file.read()
        yield from array_blocks(content.removeprefix(BYTE_ORDER_MARK))
    except DataError:
        raise
    except (OSError, EOFError, pa.ArrowException, ValueError) as error:
        if is_a_limit(error):
            raise unreadable(path, error) from error
        raise DataError.at(
            path, f"cannot be read as json: {error} (is it complete, and is its ending right?)"
        ) from error


def first_json_records(path: str, most: int) -> list[dict[str, Any]]:
    """Return up to ``most`` records from the beginning of a file.

    Returns an empty list if the first record is very large or is not an object, or if the file
    cannot be read.
    """
    try:
        if _is_array(path):
            with opened(path) as file:
                head: bytes = file.read(_HEAD_BYTES)
            records = first_elements(head, most)
        else:
            lines = head_lines(path, _HEAD_BYTES)[:most]
            records = [orjson.loads(line) for line in lines if _is_object(line)]
    except (OSError, EOFError, ValueError, pa.ArrowException):
        return []
    return [record for record in records if isinstance(record, dict)]


def line_of_row(path: str, row: int, format: Format = "auto") -> int | None:
    """Return the line, counted from 1, of a record, counted from 0; None if it has no line.

    Records have lines only in JSON Lines files.

    Raises:
        DataError: the format of the file is unknown.
        OSError: the file cannot be read. :class:`EOFError` if compressed data ends too early.
    """
    return lines_of(path, [row], format).get(row)


def lines_of(path: str, rows: Collection[int], format: Format = "auto") -> dict[int, int]:
    """Return the line, counted from 1, by the number of the record, counted from 0.

    Records have lines only in JSON Lines files; for other files, the result is empty.

    Raises:
        DataError: the format of the file is unknown.
        OSError: the file cannot be read. :class:`EOFError` if compressed data ends too early.
    """
    if real_format(path, format) != "json" or _is_array(path):
        return {}
    return lines_of_rows(path, rows)


# --------------------------------------------------------------------------------------------------


def _is_array(path: str) -> bool:
    """Return whether the first character after white space opens an array."""
    with opened(path) as file:
        beginning: bytes = file.read(1024)
        beginning = beginning.removeprefix(BYTE_ORDER_MARK).lstrip()
        while not beginning and (more := file.read(1 << 16)):
            beginning = more.lstrip()
    return beginning.startswith(b"[")


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(orjson.loads(line), dict)
    except orjson.JSONDecodeError:
        return False


def _check_content(path: str) -> None:
    """Refuse a file whose first bytes show that it is not JSON.

    Raises:
        ValueError: the message says what the file is.
    """
    with opened(path) as file:
        head: bytes = file.read(1024)
    if sentence := unsupported_content(head):
        raise ValueError(sentence)
    if compression_suffix(path) and not compression_of(head_of(path)):
        beginning = head.removeprefix(BYTE_ORDER_MARK).lstrip()
        if beginning and not beginning.startswith((b"{", b"[")):
            raise ValueError(
                f"its ending {compression_suffix(path)!r} says that it is compressed, but it "
                f"begins with {head[:8]!r}, which is neither compressed data nor JSON"
            )
