"""Files of any kind to memory-mapped canonical columns, read once and cached by content."""

from __future__ import annotations

import gc
import json
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from llm_embedder_data.file_errors import is_a_limit, reason, remedy
from llm_embedder_data.files import locked
from llm_embedder_data.rows.columns import (
    Block,
    Column,
    Columns,
    Faults,
    columns_of,
    first_record,
    renamed,
)
from llm_embedder_data.rows.schema import DataError
from llm_embedder_data.rows.sources import COMPRESSIONS, Format, compression_suffix, format_of
from llm_embedder_data.sealed import (
    MEMO_SUFFIX,
    hash_of,
    is_whole,
    read_memo,
    sealed_file,
    write_memo,
)

# Part of every cache key: raise it when what is written changes.
CACHE_VERSION = 3

# Read, converted and checked at a time, bytes; its columns and its batch hold as much again.
BLOCK_BYTES = 4 << 20

# Searched for a line break at a time, from the end.
_TAIL_BYTES = 1 << 16

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

# Blocks that are converted side by side, at most.
_MOST_THREADS = 8

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
    file_format = format_of(path, format)
    folder = cache_dir or default_cache_dir()
    stamp = _stamp(path)
    key = xxhash.xxh3_128_hexdigest(
        repr(
            (CACHE_VERSION, content_digest(path, folder), file_format, reading.kind, reading.fields)
        ).encode()
    )
    cached = folder / f"{key}.arrow"
    if not is_whole(cached):
        _make_folder(folder)
        with locked(cached):
            if not is_whole(cached):
                _write(cached, path, stamp, file_format, reading)
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
    memo = folder / f"{name}{MEMO_SUFFIX}"
    remembered = read_memo(memo)
    if isinstance(remembered, dict) and remembered.get("stamp") == stamp:
        return str(remembered["digest"])
    try:
        with open(path, "rb") as file:
            digest = hash_of(file, sys.maxsize).hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error
    with suppress(OSError):  # a memo only saves time
        folder.mkdir(parents=True, exist_ok=True)
        write_memo(memo, {"stamp": stamp, "digest": digest})
    return str(digest)


def line_of_row(path: str, row: int, format: Format = "auto") -> int | None:
    """The line, counted from 1, on which a record stands; None where the file has no lines."""
    if format_of(path, format) != "json" or _is_json_array(path):
        return None
    for line, text in enumerate(_lines(path), start=1):
        if not text or text.isspace():
            continue
        if row == 0:
            return line
        row -= 1
    return None


def field_names(path: str, format: Format = "auto") -> list[str]:
    """The fields of a file's first record."""
    return list(first_record(next(_blocks(path, format_of(path, format)), [{}])))


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
            with pa.ipc.new_stream(file, reading.schema) as writer:
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
            f"the cache of {path} could not be written: {reason(error)} ({remedy(error)})",
        ) from error


def _batches(path: str, file_format: Format, reading: Reading) -> Iterator[pa.RecordBatch]:
    """The canonical columns of a file's blocks, in their order, made side by side."""
    wanted = renamed(reading.columns, dict(reading.fields))
    n_threads = min(pa.cpu_count(), _MOST_THREADS)
    pending: deque[Future[pa.RecordBatch]] = deque()
    with ThreadPoolExecutor(n_threads) as threads:
        for block in _blocks(path, file_format):
            pending.append(
                threads.submit(lambda block: reading.build(*columns_of(block, wanted)), block)
            )
            if len(pending) > n_threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _blocks(path: str, file_format: Format) -> Iterator[Block]:
    """The rows of a file, some thousand at a time."""
    try:
        if file_format == "json" and not _is_json_array(path):
            yield from _line_blocks(path)
        elif file_format == "json":
            with _opened(path) as file:
                yield json.loads(file.read())
        else:
            yield from _tables(path, file_format)
    except (OSError, EOFError, pa.ArrowException, ValueError) as error:
        if is_a_limit(error):
            raise _unreadable(path, error) from error
        raise DataError.at(
            path,
            f"cannot be read as {file_format}: {error} (is it whole, and is its ending right?)",
        ) from error


def _line_blocks(path: str) -> Iterator[memoryview]:
    """Whole lines, as many as :data:`BLOCK_BYTES` hold, or one that is longer."""
    with _opened(path) as file:
        rest = file.read(len(_BYTE_ORDER_MARK)).removeprefix(_BYTE_ORDER_MARK)
        while True:
            # The lines are never copied: only what was read of the next one is. And Arrow gives the
            # memory of blocks that are done again, where the system's would be cleared first.
            block = memoryview(pa.allocate_buffer(BLOCK_BYTES + len(rest))).cast("B")
            block[: len(rest)] = rest
            n_read = file.readinto(block[len(rest) :])
            end = len(rest) + n_read
            whole = _end_of_lines(block[:end]) if n_read else end
            rest = block[whole:end].tobytes()
            if whole:
                yield block[:whole]
            if not n_read:
                return


def _end_of_lines(block: memoryview) -> int:
    """Behind the last line break, 0 where there is none."""
    start = len(block)
    while start > 0:
        end, start = start, max(0, start - _TAIL_BYTES)
        found = block[start:end].tobytes().rfind(b"\n")
        if found >= 0:
            return start + found + 1
    return 0


def _lines(path: str) -> Iterator[bytes]:
    with _opened(path) as file:
        rest = file.read(len(_BYTE_ORDER_MARK)).removeprefix(_BYTE_ORDER_MARK)
        while block := file.read(BLOCK_BYTES):
            *lines, rest = (rest + block).split(b"\n")
            yield from lines
    if rest:
        yield rest


def _opened(path: str) -> Any:
    return pa.input_stream(path, compression=COMPRESSIONS.get(compression_suffix(path)))


def _is_json_array(path: str) -> bool:
    with _opened(path) as file:
        beginning: bytes = file.read(1024)
    return beginning.removeprefix(_BYTE_ORDER_MARK).lstrip().startswith(b"[")


def _tables(path: str, file_format: Format) -> Iterator[pa.RecordBatch]:
    if file_format == "parquet":
        yield from pq.ParquetFile(path).iter_batches(batch_size=1024)
        return
    with pa.memory_map(path) as source:
        try:
            reader = pa.ipc.open_file(source)
            yield from (reader.get_batch(i) for i in range(reader.num_record_batches))
        except pa.ArrowInvalid:  # the stream format, which Hugging Face datasets writes
            source.seek(0)
            yield from pa.ipc.open_stream(source)
