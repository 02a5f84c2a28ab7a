"""Files of any kind to memory-mapped canonical columns, read once and cached by content."""

from __future__ import annotations

import gc
import json
import os
import sys
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import orjson
import pyarrow as pa
import xxhash

from llm_embedder_data.core.checked_json import (
    CHECKED_JSON_SUFFIX,
    read_checked_json,
    write_checked_json,
)
from llm_embedder_data.core.errors import DataError
from llm_embedder_data.core.file_errors import is_a_limit, reason, remedy
from llm_embedder_data.core.files import locked
from llm_embedder_data.core.printable import one_line
from llm_embedder_data.core.sealed_files import hash_of, is_whole, sealed_file
from llm_embedder_data.rows.columns import (
    Block,
    Column,
    Columns,
    Faults,
    columns_of,
    is_long_line,
    kinds_of,
    renamed,
)
from llm_embedder_data.rows.containers import (
    BYTE_ORDER_MARK,
    compression_of,
    compression_suffix,
    head_of,
    opened,
    stranger,
    table_of,
)
from llm_embedder_data.rows.json_text import array_blocks, first_elements
from llm_embedder_data.rows.lines import head_lines, line_blocks, lines_of_rows
from llm_embedder_data.rows.sources import Format, declared_format, format_of
from llm_embedder_data.rows.tables import table_columns, table_slices

# Part of every cache key: raise it when what is written changes.
CACHE_VERSION = 4

# Read, converted and checked at a time, bytes; its columns and its batch hold as much again.
BLOCK_BYTES = 4 << 20

# Looked at for the fields of a file's first records, bytes; and so many records at the most.
_LOOKED_AT_BYTES = 1 << 18
_LOOKED_AT = 50

# Kept of their fields: so many names, so many characters of each.
_MOST_NAMES = 200
_LONGEST_NAME = 100

# Where the cache has these names.
_FIELDS = b"fields"

# Blocks that are converted side by side, at most.
_MOST_THREADS = 8

# Formats whose columns have a type.
TABLES: tuple[Format, ...] = ("parquet", "arrow")

BatchBuilder = Callable[[Columns, Faults], pa.RecordBatch]


@dataclass(frozen=True, slots=True)
class Reading:
    """How a kind of file becomes canonical columns.

    Attributes:
        kind: names the reading in cache keys, with everything that changes what is written.
        schema: of the batches.
        build: columns of some rows, and the faults found so far, to a batch.
        columns: that are read; no other column of a file is looked at.
        fields: what a column is called in the file, where it is called otherwise.
    """

    kind: str
    schema: pa.Schema
    build: BatchBuilder
    columns: tuple[Column, ...]
    fields: tuple[tuple[str, str], ...] = ()


def default_cache_dir() -> Path:
    """A folder beside Hugging Face datasets' own, so that HF_HOME and HF_DATASETS_CACHE move it."""
    return Path(datasets.config.HF_DATASETS_CACHE) / "llm_embedder_data"


def read_file(
    path: str, reading: Reading, *, format: Format = "auto", cache_dir: Path | None = None
) -> datasets.Dataset:
    """The rows of one file as a memory-mapped dataset; row i is the i-th record of the file.

    The first call converts the file and writes the cache; it appears whole or not at all, so a
    killed process leaves nothing behind that is read. Of processes that prepare the same file at
    once, one does the work where the folder has locks, and each does it where it has none. The
    cache is found by the file's content: a changed file is read anew whatever its modification time
    says. A cache that was damaged since is written again.

    Args:
        path: of the file.
        reading: what to make of it.
        format: of the file.
        cache_dir: where the Arrow file goes; None for :func:`default_cache_dir`.

    Raises:
        DataError: a file that is missing, empty, truncated, of another format, or changed while it
            is read; a cache folder that cannot be written where it must be. A record that breaks a
            rule raises nothing here: its row has the reason in the column ``fault``.
    """
    folder = cache_dir or default_cache_dir()
    stamp = _stamp(path)
    # What the file is besides is in its content; so it is not opened where it was not touched.
    declared = declared_format(path, format)
    key = xxhash.xxh3_128_hexdigest(
        repr(
            (CACHE_VERSION, content_digest(path, folder), declared, reading.kind, reading.fields)
        ).encode()
    )
    cached = folder / f"{key}.arrow"
    if not is_whole(cached):
        _make_folder(folder)
        with locked(cached):
            if not is_whole(cached):
                _write(cached, path, stamp, real_format(path, format), reading)
    try:
        # With a fingerprint: Dataset.from_file would pickle the whole dataset for one.
        table = datasets.table.MemoryMappedTable.from_file(str(cached))
        return datasets.Dataset(table, fingerprint=key)
    except OSError as error:
        raise DataError.at(
            str(cached), f"the cache cannot be opened: {reason(error)} ({remedy(error)})"
        ) from error
    except pa.ArrowException as error:
        raise DataError.at(str(cached), f"the cache is damaged: {error} (delete it)") from error


def content_digest(path: str, cache_dir: Path | None = None) -> str:
    """128 bits of the file's content, in hexadecimal.

    The digest is remembered beside the cache together with size, inode, modification and change
    time. The change time moves with every write and cannot be set back, so a file whose four agree
    was not changed.
    """
    folder = cache_dir or default_cache_dir()
    stamp = _stamp(path)
    name = xxhash.xxh3_128_hexdigest(os.fsencode(os.path.abspath(path)))
    memo = folder / f"{name}{CHECKED_JSON_SUFFIX}"
    remembered = read_checked_json(memo)
    if isinstance(remembered, dict) and remembered.get("stamp") == stamp:
        return str(remembered["digest"])
    try:
        with open(path, "rb") as file:
            digest = hash_of(file, sys.maxsize).hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error
    with suppress(OSError):  # a memo only saves time
        folder.mkdir(parents=True, exist_ok=True)
        write_checked_json(memo, {"stamp": stamp, "digest": digest})
    return str(digest)


def real_format(path: str, format: Format) -> Format:
    """The format of a file: the chosen one, else what its first bytes say, else its ending.

    Raises:
        DataError: the file is missing, or is none of these; or another than the chosen one.
    """
    try:
        found = table_of(head_of(path))
    except OSError as error:
        raise DataError.at(path, f"cannot be read: {error.strerror} (mend the path)") from error
    if found == format or (found and format == "auto"):
        return found  # type: ignore[return-value]
    if found:
        raise DataError.at(
            path, f"it is a {found} file, not {format} (leave the format out, or say {found})"
        )
    return format_of(path, format)


def line_of_row(path: str, row: int, format: Format = "auto") -> int | None:
    """The line, counted from 1, on which a record stands; None where the file has no lines."""
    return lines_of(path, [row], format).get(row)


def lines_of(path: str, rows: Collection[int], format: Format = "auto") -> dict[int, int]:
    """The lines, counted from 1, on which records stand; none where the file has no lines."""
    if real_format(path, format) != "json" or _is_json_array(path):
        return {}
    return lines_of_rows(path, rows)


def field_names(path: str, format: Format = "auto") -> list[str]:
    """The fields of a file's first records, in the order in which they are met."""
    names: dict[str, None] = {}
    for record in first_records(path, format):
        names.update(dict.fromkeys(record))
    return [name[:_LONGEST_NAME] for name in list(names)[:_MOST_NAMES]]


def fields_seen(rows: datasets.Dataset) -> list[str]:
    """:func:`field_names` of the file that :func:`read_file` made a dataset of, from its cache."""
    [cached] = rows.cache_files
    with pa.memory_map(cached["filename"]) as file, pa.ipc.open_stream(file) as reader:
        names: list[str] = json.loads(reader.schema.metadata[_FIELDS])
    return names


def first_records(path: str, format: Format = "auto") -> list[Mapping[str, Any]]:
    """The first records of a file as they lie in it, of a table their names alone.

    Where the file begins with a record of megabytes, with something that is no record, or cannot be
    read, there are none.
    """
    file_format = real_format(path, format)
    if file_format in TABLES:
        return [dict.fromkeys(table_columns(path, file_format))]
    try:
        if _is_json_array(path):
            with opened(path) as file:
                head: bytes = file.read(_LOOKED_AT_BYTES)
            found = first_elements(head, _LOOKED_AT)
        else:
            lines = head_lines(path, _LOOKED_AT_BYTES)[:_LOOKED_AT]
            found = [orjson.loads(line) for line in lines if _is_object(line)]
    except (OSError, EOFError, ValueError, pa.ArrowException):
        return []
    return [record for record in found if isinstance(record, dict)]


# --------------------------------------------------------------------------------------------------


def _stamp(path: str) -> list[int]:
    try:
        state = os.stat(path)
    except OSError as error:
        raise _unreadable(path, error) from error
    return [state.st_size, state.st_ino, state.st_mtime_ns, state.st_ctime_ns]


def _unreadable(path: str, error: OSError) -> DataError:
    mend = remedy(error) if is_a_limit(error) else "mend the path"
    return DataError.at(path, f"cannot be read: {reason(error)} ({mend})")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(13, "it is read-only, or another user's")
    except OSError as error:
        raise DataError.at(
            str(folder),
            f"the cache cannot be written: {reason(error)} (give another data.cache_dir)",
        ) from error


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """For the making of many records: they are trees, in which the collector finds nothing.

    It walks through them again and again all the same, for half of the time of a training file.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@_without_garbage_collection()
def _write(
    cached: Path, path: str, stamp: list[int], file_format: Format, reading: Reading
) -> None:
    n_rows = 0
    try:
        with sealed_file(cached) as file:
            seen = {_FIELDS: json.dumps(field_names(path, file_format))}
            with pa.ipc.new_stream(file, reading.schema.with_metadata(seen)) as writer:
                for batch in _batches(path, file_format, reading):
                    writer.write_batch(batch)
                    n_rows += len(batch)
            if _stamp(path) != stamp:  # the cache would be found by the digest of other content
                raise DataError.at(path, "changed while it was read (start again when it is whole)")
            if n_rows == 0:
                raise DataError.at(path, "the file holds no row (fill it, or leave it out)")
    except OSError as error:
        raise DataError.at(
            str(cached.parent),
            f"the cache of {one_line(path)} could not be written: {reason(error)} "
            f"({remedy(error)})",
        ) from error


def _batches(path: str, file_format: Format, reading: Reading) -> Iterator[pa.RecordBatch]:
    """The canonical columns of a file's blocks, in their order, made side by side."""
    wanted = renamed(reading.columns, dict(reading.fields))
    n_threads = min(pa.cpu_count(), _MOST_THREADS)
    pending: deque[Future[pa.RecordBatch]] = deque()
    blocks: Iterator[Block] = (
        table_slices(path, file_format, kinds_of(wanted))
        if file_format in TABLES
        else _blocks(path)
    )
    with ThreadPoolExecutor(n_threads) as threads:
        for block in blocks:
            pending.append(threads.submit(_batch_of, block, wanted, reading.build))
            if len(pending) > n_threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _batch_of(block: Block, wanted: Sequence[Column], build: BatchBuilder) -> pa.RecordBatch:
    is_long = is_long_line(block)
    columns, faults = columns_of(block, wanted)
    if isinstance(block, memoryview):
        with suppress(BufferError):  # an array still looks at it: it goes with that
            block.release()
    if is_long:  # it may be half a gigabyte, which Arrow would keep for another one
        pa.default_memory_pool().release_unused()
    return build(columns, faults)


def _blocks(path: str) -> Iterator[Block]:
    """The rows of a file of lines or of a JSON array, some thousand at a time."""
    try:
        _check_content(path)
        if not _is_json_array(path):
            yield from line_blocks(path, BLOCK_BYTES)
            return
        with opened(path) as file:
            content: bytes = file.read()
        yield from array_blocks(content.removeprefix(BYTE_ORDER_MARK))
    except DataError:
        raise
    except (OSError, EOFError, pa.ArrowException, ValueError) as error:
        if is_a_limit(error):
            raise _unreadable(path, error) from error
        raise DataError.at(
            path, f"cannot be read as json: {error} (is it whole, and is its ending right?)"
        ) from error


def _is_json_array(path: str) -> bool:
    """Whether the first character that is no blank opens an array."""
    with opened(path) as file:
        beginning: bytes = file.read(1024)
        beginning = beginning.removeprefix(BYTE_ORDER_MARK).lstrip()
        while not beginning and (more := file.read(1 << 16)):
            beginning = more.lstrip()
    return beginning.startswith(b"[")


def _is_object(line: bytes) -> bool:
    """Whether a line is a JSON object."""
    try:
        return isinstance(orjson.loads(line), dict)
    except orjson.JSONDecodeError:
        return False


def _check_content(path: str) -> None:
    """Refuse what is neither lines nor an array, by its first bytes.

    Raises:
        ValueError: saying what it is.
    """
    with opened(path) as file:
        head: bytes = file.read(1024)
    if what := stranger(head):
        raise ValueError(what)
    if compression_suffix(path) and not compression_of(head_of(path)):
        beginning = head.removeprefix(BYTE_ORDER_MARK).lstrip()
        if beginning and not beginning.startswith((b"{", b"[")):
            raise ValueError(
                f"its ending {compression_suffix(path)!r} says that it is packed, and it begins "
                f"with {head[:8]!r}, which is neither that nor JSON"
            )
