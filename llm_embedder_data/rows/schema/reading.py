"""Reads a file of any format into a memory-mapped dataset of canonical rows, cached by content."""

from __future__ import annotations

import gc
import json
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import datasets
import pyarrow as pa
import xxhash

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.core.file_errors import not_written, reason, remedy
from llm_embedder_data.core.files import locked
from llm_embedder_data.core.printable import one_line
from llm_embedder_data.core.sealed_files import is_whole, sealed_file
from llm_embedder_data.rows.columns.column import Column, RawRows, kinds_of
from llm_embedder_data.rows.columns.conversion import columns_of
from llm_embedder_data.rows.columns.long_lines import is_long_line
from llm_embedder_data.rows.files.content_digest import content_digest, stamp
from llm_embedder_data.rows.files.file_formats import (
    TABLE_FORMATS,
    Format,
    declared_format,
    real_format,
)
from llm_embedder_data.rows.files.first_records import field_names
from llm_embedder_data.rows.files.json_files import json_blocks
from llm_embedder_data.rows.files.tables import table_slices
from llm_embedder_data.rows.schema.row_kind import RowKind
from llm_embedder_data.rows.settings.cache_folder import cache_folder

# Part of every cache file's name. Raise it when what is written changes.
CACHE_VERSION = 8

# Key in the metadata of the cached Arrow schema; its value is the names of the file's fields, JSON.
FIELD_NAMES = b"fields"

_MOST_THREADS = 8  # that convert blocks


def read_file(
    path: str, kind: RowKind, *, format: Format = "auto", cache_dir: Path | None = None
) -> datasets.Dataset:
    """Return the rows of a file as a memory-mapped dataset; row i is the file's i-th record.

    The first call converts the file and writes a cache file, which appears complete or not at all.
    If several processes ask for the same file at once, one of them does the work. On a file system
    without locks, each of them does. The cache file's name depends on the file's content, so a
    changed file is read again even if its modification time is the same. A damaged cache file is
    written again.

    Args:
        path: the file.
        kind: the kind of rows to make.
        format: the format of the file.
        cache_dir: the folder of the cache file: see
            :func:`~llm_embedder_data.rows.settings.cache_folder.cache_folder`.

    Raises:
        DataError: the file is missing, empty, truncated, in another format, or changed while it was
            read; or the cache folder cannot be written. A record that breaks a rule is not an error
            here: the reason goes to the column ``fault`` of its row.
    """
    folder = cache_folder(cache_dir)
    found = stamp(path)
    # Detecting the format would open the file. The declared format is enough for the name, because
    # the detected format only depends on the content, and a known digest needs no reading.
    declared = declared_format(path, format)
    contents = (CACHE_VERSION, content_digest(path, folder), declared, kind.name, kind.fields)
    name = xxhash.xxh3_128_hexdigest(repr(contents).encode())
    cached = folder / f"{name}.arrow"
    if not is_whole(cached):
        make_folder(folder)
        with locked(cached):
            if not is_whole(cached):
                _write(cached, path, found, real_format(path, format), kind)
    return open_cached(cached, name)


def open_cached(cached: Path, fingerprint: str) -> datasets.Dataset:
    """Return a cache file as a memory-mapped dataset.

    Raises:
        DataError: it cannot be opened.
    """
    try:
        table = datasets.table.MemoryMappedTable.from_file(str(cached))
        # Without a fingerprint, Dataset would pickle the whole dataset to compute one.
        return datasets.Dataset(table, fingerprint=fingerprint)
    except OSError as error:
        raise DataError.at(
            str(cached), f"the cache cannot be opened: {reason(error)} ({remedy(error)})"
        ) from error
    except pa.ArrowException as error:
        raise DataError.at(str(cached), f"the cache is damaged: {error} (delete it)") from error


def cache_names(rows: datasets.Dataset) -> list[str]:
    """Return the names of the cache files of rows.

    A name depends on all that the rows were made of: the content of the files, their format, and
    the column that each field was read from. So the name of what is computed from the rows should
    depend on these names, not on the digests of the files alone.
    """
    return [Path(file["filename"]).name for file in rows.cache_files]


def fields_seen(rows: datasets.Dataset) -> list[str]:
    """Return the names of a file's fields, which :func:`read_file` stored in its cache file."""
    [cached] = rows.cache_files
    with pa.memory_map(cached["filename"]) as file, pa.ipc.open_stream(file) as reader:
        names: list[str] = json.loads(reader.schema.metadata[FIELD_NAMES])
    return names


def canonical_batches(path: str, format: Format, kind: RowKind) -> Iterator[pa.RecordBatch]:
    """Yield the canonical rows of a file in order; threads convert several blocks at once.

    Raises:
        DataError: the file cannot be read, as for :func:`read_file`.
    """
    wanted = kind.file_columns
    n_threads = min(pa.cpu_count(), _MOST_THREADS)
    blocks: Iterator[RawRows] = (
        table_slices(path, format, kinds_of(wanted))
        if format in TABLE_FORMATS
        else json_blocks(path)
    )
    pending: deque[Future[pa.RecordBatch]] = deque()
    with ThreadPoolExecutor(n_threads) as threads:
        for block in blocks:
            pending.append(threads.submit(_batch_of, block, wanted, kind))
            if len(pending) > n_threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def make_folder(folder: Path) -> None:
    """Create the cache folder if it is missing.

    Raises:
        DataError: it cannot be created, or is not writable.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(13, "it is read-only, or another user's")
    except OSError as error:
        raise DataError.at(
            str(folder),
            f"the cache cannot be written: {reason(error)} (give another data.cache_dir)",
        ) from error


# --------------------------------------------------------------------------------------------------


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Pause the garbage collector, which would double the time of creating many records.

    Records have no reference cycles, so the collector would visit them repeatedly for nothing.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@_without_garbage_collection()
def _write(cached: Path, path: str, expected: list[int], format: Format, kind: RowKind) -> None:
    """Write the cache file of a file; check that the file's stamp is still the expected one."""
    n_rows = 0
    try:
        with sealed_file(cached) as file:
            metadata = {FIELD_NAMES: json.dumps(field_names(path, format))}
            with pa.ipc.new_stream(file, kind.schema.with_metadata(metadata)) as writer:
                for batch in canonical_batches(path, format, kind):
                    writer.write_batch(batch)
                    n_rows += len(batch)
            if stamp(path) != expected:  # the cache file is named by the digest of the old content
                raise DataError.at(
                    path, "changed while it was read (start again when it is complete)"
                )
            if n_rows == 0:
                raise DataError.at(path, "the file holds no row (fill it, or leave it out)")
    except OSError as error:
        raise not_written(f"the cache of {one_line(path)}", cached.parent, error) from error


def _batch_of(block: RawRows, wanted: tuple[Column, ...], kind: RowKind) -> pa.RecordBatch:
    is_long = is_long_line(block)
    columns, faults = columns_of(block, wanted)
    if isinstance(block, memoryview):
        with suppress(BufferError):  # an array uses the block: it is freed together with the array
            block.release()
    if is_long:  # Arrow's pool would keep the memory, up to half a gigabyte, for the next block
        pa.default_memory_pool().release_unused()
    return kind.build(columns, faults)
