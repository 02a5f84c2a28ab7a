"""Reads the record batches of Arrow and Parquet files, with the types that the files have."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from llm_embedder_data.rows.files.signatures import ARROW_STREAM_END
from llm_embedder_data.rows.files.table_process.row_sizes import SLICE_BYTES, SLICE_ROWS
from llm_embedder_data.rows.files.table_process.table_messages import Unreadable

# Called with the share of a file that was read so far, from 0 to 1.
Progress = Callable[[float], None]


def no_progress(share: float) -> None:
    """Do nothing, for files whose progress nobody watches."""


def file_batches(
    path: str,
    file_format: str,
    names: Sequence[str] | None,
    progress: Progress = no_progress,
) -> Iterator[pa.RecordBatch]:
    """Yield the record batches of a file, in its order.

    Args:
        path: the file.
        file_format: ``"parquet"`` or ``"arrow"``.
        names: the columns to read, as far as the file has them; None reads all.
        progress: called when a batch was used.

    Raises:
        Unreadable: a column appears twice, or the file has more or fewer rows than it claims.
        pa.ArrowException, OSError, ValueError, MemoryError: from pyarrow, for a damaged file.
    """
    batches = _parquet_batches if file_format == "parquet" else _arrow_batches
    yield from batches(path, names, progress)
    progress(1.0)


def names_of_columns(path: str, file_format: str) -> list[str]:
    """Return the names of a file's columns, in the file's order.

    Raises:
        pa.ArrowException, OSError, ValueError, MemoryError: from pyarrow, for a damaged file.
    """
    if file_format == "parquet":
        return list(pq.ParquetFile(_mapped(path)).schema_arrow.names)
    with _mapped(path) as source:
        return list(_opened(source).schema.names)


# --------------------------------------------------------------------------------------------------


def _mapped(path: str) -> pa.MemoryMappedFile:
    return pa.memory_map(os.fsencode(path))  # as bytes, because a file's name may not be UTF-8


def _parquet_batches(
    path: str, names: Sequence[str] | None, progress: Progress
) -> Iterator[pa.RecordBatch]:
    file = pq.ParquetFile(_mapped(path), page_checksum_verification=True)
    columns = _existing(file.schema_arrow, names)
    n_done = 0
    for group in range(file.metadata.num_row_groups):
        claimed, n_rows = file.metadata.row_group(group).num_rows, 0
        for batch in _batches_of_group(file, group, columns):
            n_rows += batch.num_rows
            yield batch
            progress(min(1.0, (n_done + n_rows) / max(1, file.metadata.num_rows)))
        n_done += n_rows
        if n_rows != claimed:
            raise Unreadable(_lost(f"row group {group} says it has {claimed} rows", n_rows))
    claimed = sum(file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups))
    if claimed != file.metadata.num_rows:
        raise Unreadable(_lost(f"its footer says {file.metadata.num_rows} rows", claimed))


def _batches_of_group(
    file: pq.ParquetFile, group: int, columns: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """Yield the batches of a row group, with fewer rows per batch if they turn out too large.

    The size of rows is only known once they are decoded: a dictionary stores a repeated text once.
    pyarrow raises an error if a batch exceeds its 32-bit offsets.
    """
    meta = file.metadata.row_group(group)
    wanted = set(columns)
    n_bytes = sum(
        max(0, column.total_uncompressed_size)
        for column in map(meta.column, range(meta.num_columns))
        if column.path_in_schema.partition(".")[0] in wanted
    )
    per_row = n_bytes // max(1, meta.num_rows) + 1
    batch_rows = min(max(4 * SLICE_BYTES // per_row, 1), SLICE_ROWS)
    n_done = 0
    while True:
        n_seen = 0
        try:
            for batch in file.iter_batches(batch_rows, row_groups=[group], columns=list(columns)):
                n_seen += batch.num_rows
                if n_seen > n_done:
                    new = min(batch.num_rows, n_seen - n_done)
                    n_done = n_seen
                    yield batch.slice(batch.num_rows - new)
            return
        except (pa.ArrowException, MemoryError, OSError):
            if batch_rows == 1:
                raise
            batch_rows = max(1, batch_rows // 32)


def _arrow_batches(
    path: str, names: Sequence[str] | None, progress: Progress
) -> Iterator[pa.RecordBatch]:
    """Yield the batches of an Arrow file or stream; Hugging Face datasets writes streams."""
    with _mapped(path) as source:
        schema = _opened(source).schema
        columns = _existing(schema, names)
        # None means all columns, and so would an empty list. select() drops the unwanted columns.
        fields = [schema.get_field_index(name) for name in columns] or None
        reader = _opened(source, pa.ipc.IpcReadOptions(included_fields=fields))
        if isinstance(reader, pa.RecordBatchFileReader):
            n_batches = _n_batches_written(source)
            if n_batches > reader.num_record_batches:
                raise Unreadable(
                    f"its footer names {reader.num_record_batches} of {n_batches} record batches "
                    "(it is damaged: write it again)"
                )
            for i in range(reader.num_record_batches):
                yield reader.get_batch(i).select(columns)
                progress((i + 1) / reader.num_record_batches)
            return
        for batch in reader:
            yield batch.select(columns)
            progress(source.tell() / max(1, source.size()))
        end, size = source.tell(), source.size()
        if end != size:
            raise Unreadable(
                f"{size - end} bytes follow the end of the stream (it is several streams in one "
                "file, or damaged: write it again)"
            )
        source.seek(max(0, size - len(ARROW_STREAM_END)))
        if source.read() != ARROW_STREAM_END:
            raise Unreadable(
                "the mark that ends a stream is missing (its writer was not closed, or it was cut "
                "off: write it again)"
            )


def _opened(source: pa.NativeFile, options: pa.ipc.IpcReadOptions | None = None) -> Any:
    source.seek(0)
    is_file = source.read(6) == b"ARROW1"
    source.seek(0)
    return (pa.ipc.open_file if is_file else pa.ipc.open_stream)(source, options=options)


def _n_batches_written(source: pa.NativeFile) -> int:
    """Count the record batches before the footer, up to the first damaged one."""
    source.seek(8)
    n_batches = 0
    with suppress(StopIteration, EOFError, pa.ArrowException, OSError):
        messages = pa.ipc.MessageReader.open_stream(source)
        while True:
            n_batches += messages.read_next_message().type == "record batch"
    return n_batches


def _existing(schema: pa.Schema, names: Sequence[str] | None) -> list[str]:
    """Return those of the names that a schema has, all its names for None.

    Raises:
        Unreadable: the schema has one of the names twice.
    """
    columns = []
    for name in dict.fromkeys(schema.names) if names is None else names:
        n_times = len(schema.get_all_field_indices(name))
        if n_times > 1:
            raise Unreadable(
                f"the column {name!r} appears {n_times} times (rename all but one, or take them "
                "out)"
            )
        columns += [name] * n_times
    return columns


def _lost(claim: str, n_rows: int) -> str:
    return f"{claim}, and {n_rows} were found (it is damaged: write it again)"
