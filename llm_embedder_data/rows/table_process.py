"""Arrow and Parquet files, which may be damaged, to batches of few plain types, checked in full.

pyarrow trusts much of what a file says of itself: a damaged one can end the process that opens it,
or hold it for minutes. So this module also is a program: it reads files for another process, which
finds out whether it lives (see :mod:`llm_embedder_data.rows.tables`). It imports nothing of the
package, so that it starts quickly.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

try:
    import resource
except ImportError:  # Windows, where the other process has to watch the clock alone
    resource = None  # type: ignore[assignment]

# Kinds of columns, by field; a field may have several.
Kinds = Mapping[str, Sequence[str]]

# Whether the system ends a process that takes more processor time than it was allowed.
BOUNDS_CPU = resource is not None

# What a slice holds at the most, but for a row that is larger.
SLICE_BYTES = 4 << 20
SLICE_ROWS = 8192

# Looked at in one go to find out where slices end, rows.
_WINDOW_ROWS = 65536

# A row becomes lists and texts with offsets of 32 bits.
_LARGEST_ROW = 2**31 - 1

# A file may claim any number of rows that take no bytes. No real one has more for each byte.
_ROWS_PER_BYTE = 1000
_ROWS_IN_ANY_CASE = 1_000_000

# Processor time from one slice to the next: so many seconds, and one more for so many bytes.
CPU_SECONDS = 8
BYTES_PER_SECOND = 1 << 20

_END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"

_NEEDED = {
    "string": "a string",
    "text": "a string or a number",
    "strings": "a list of strings",
    "numbers": "a list of numbers",
    "integers": "a list of integers",
    "id": "an integer or a string",
}


class Unreadable(Exception):
    """What is wrong with a file, as a sentence with its remedy."""


def checked_slices(path: str, file_format: str, kinds: Kinds) -> Iterator[pa.RecordBatch]:
    """The wanted columns of a file, some rows at a time, in the file's order.

    Every array is valid in full and lies in buffers of its own. Types are strings, integers,
    floats, lists of these, and null for a column without a value. Columns that the file lacks are
    left out. A slice holds about :data:`SLICE_BYTES`, or one row.

    Args:
        path: of the file.
        file_format: ``"parquet"`` or ``"arrow"``.
        kinds: of the wanted columns.

    Raises:
        Unreadable: a column that is there twice, holds invalid values, or has a type that none of
            its kinds takes; a row beyond 2 GiB; more or fewer rows than the file says.
        pa.ArrowException, OSError, ValueError, MemoryError: as pyarrow does of a damaged file.
    """
    n_rows, most = 0, max(_ROWS_IN_ANY_CASE, _ROWS_PER_BYTE * os.path.getsize(path))
    batches = _parquet_batches if file_format == "parquet" else _arrow_batches
    for batch in batches(path, list(kinds)):
        if n_rows + batch.num_rows > most:
            raise Unreadable(_more_rows_than(most, path))
        for part in _sliced(_checked(batch, kinds), n_rows):
            yield _with_columns(part, [_plain(array) for array in part.columns])
        n_rows += batch.num_rows


def row_slices(path: str, file_format: str, most: int | None = None) -> Iterator[pa.RecordBatch]:
    """All columns of a file, of whatever types, some rows at a time; each is valid in full.

    A column of bytes that are UTF-8 is one of strings, as writers without strings mean it.

    Args:
        path: of the file.
        file_format: ``"parquet"`` or ``"arrow"``.
        most: rows to read; None for all.

    Raises:
        Unreadable: as :func:`checked_slices` does.
    """
    n_rows, bound = 0, max(_ROWS_IN_ANY_CASE, _ROWS_PER_BYTE * os.path.getsize(path))
    batches = _parquet_batches if file_format == "parquet" else _arrow_batches
    for batch in batches(path, None):
        if n_rows + batch.num_rows > bound:
            raise Unreadable(_more_rows_than(bound, path))
        if most is not None:
            batch = batch.slice(0, most - n_rows)
        n_rows += batch.num_rows
        batch.validate()
        for name, array in zip(batch.schema.names, batch.columns, strict=True):
            _validate(name, array)
        batch = _with_columns(batch, [_as_text(array) for array in batch.columns])
        n_parts = batch.nbytes // SLICE_BYTES + 1
        n_each = max(1, min(SLICE_ROWS, -(-batch.num_rows // n_parts)))
        for first in range(0, batch.num_rows, n_each):
            yield batch.slice(first, n_each)
        if most is not None and n_rows >= most:
            return


def _as_text(array: pa.Array) -> pa.Array:
    if pa.types.is_binary(array.type) or pa.types.is_large_binary(array.type):
        with suppress(pa.ArrowException):
            large = pa.types.is_large_binary(array.type)
            return array.cast(pa.large_string() if large else pa.string())
    return array


def names_of_columns(path: str, file_format: str) -> list[str]:
    """The names of a file's columns."""
    if file_format == "parquet":
        return list(pq.ParquetFile(path, memory_map=True).schema_arrow.names)
    with pa.memory_map(path) as source:
        return list(_opened(source).schema.names)


# -- files to batches ------------------------------------------------------------------------------


def _parquet_batches(path: str, names: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
    file = pq.ParquetFile(path, memory_map=True, page_checksum_verification=True)
    columns = _existing(file.schema_arrow, names)
    for group in range(file.metadata.num_row_groups):
        claimed, n_rows = file.metadata.row_group(group).num_rows, 0
        for batch in _batches_of_group(file, group, columns):
            n_rows += batch.num_rows
            yield batch
        if n_rows != claimed:
            raise Unreadable(_lost(f"row group {group} says it has {claimed} rows", n_rows))
    claimed = sum(file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups))
    if claimed != file.metadata.num_rows:
        raise Unreadable(_lost(f"its footer says {file.metadata.num_rows} rows", claimed))


def _batches_of_group(
    file: pq.ParquetFile, group: int, columns: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """The batches of a row group, of fewer rows where many do not fit into one.

    How many bytes rows take is only known when they are decoded: a text that is stored once may be
    in each of them. pyarrow gives an error where a batch goes beyond its offsets of 32 bits.
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


def _arrow_batches(path: str, names: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
    """The batches of a file of either Arrow format; Hugging Face datasets writes streams."""
    with pa.memory_map(path) as source:
        schema = _opened(source).schema
        columns = _existing(schema, names)
        # An empty list would stand for all.
        fields = [schema.get_field_index(name) for name in columns] or None
        reader = _opened(source, pa.ipc.IpcReadOptions(included_fields=fields))
        if isinstance(reader, pa.RecordBatchFileReader):
            n_batches = _n_batches_written(source)
            if n_batches > reader.num_record_batches:
                raise Unreadable(
                    f"its footer names {reader.num_record_batches} of {n_batches} record batches "
                    "(it is damaged: write it anew)"
                )
            for i in range(reader.num_record_batches):
                yield reader.get_batch(i).select(columns)
            return
        for batch in reader:
            yield batch.select(columns)
        end, size = source.tell(), source.size()
        if end != size:
            raise Unreadable(
                f"{size - end} bytes follow the end of the stream (it is several streams in one "
                "file, or damaged: write it anew)"
            )
        source.seek(max(0, size - len(_END_OF_STREAM)))
        if source.read() != _END_OF_STREAM:
            raise Unreadable(
                "the mark that ends a stream is missing (its writer was not closed, or it was cut "
                "off: write it anew)"
            )


def _opened(source: pa.NativeFile, options: pa.ipc.IpcReadOptions | None = None) -> Any:
    source.seek(0)
    is_file = source.read(6) == b"ARROW1"
    source.seek(0)
    return (pa.ipc.open_file if is_file else pa.ipc.open_stream)(source, options=options)


def _n_batches_written(source: pa.NativeFile) -> int:
    """Record batches before the footer, as far as they can be followed."""
    source.seek(8)
    n_batches = 0
    with suppress(StopIteration, EOFError, pa.ArrowException, OSError):
        messages = pa.ipc.MessageReader.open_stream(source)
        while True:
            n_batches += messages.read_next_message().type == "record batch"
    return n_batches


def _existing(schema: pa.Schema, names: Sequence[str] | None) -> list[str]:
    """The wanted columns that a file has; all of them for None."""
    columns = []
    for name in dict.fromkeys(schema.names) if names is None else names:
        n_times = len(schema.get_all_field_indices(name))
        if n_times > 1:
            raise Unreadable(
                f"the column {name!r} is there {n_times} times (rename all but one, or take them "
                "out)"
            )
        columns += [name] * n_times
    return columns


def _more_rows_than(most: int, path: str) -> str:
    return (
        f"it claims more than {most:,} rows, which its {os.path.getsize(path):,} bytes cannot hold "
        "(it is damaged: write it anew)"
    )


def _lost(claim: str, n_rows: int) -> str:
    return f"{claim}, and {n_rows} were found (it is damaged: write it anew)"


# -- batches to plain columns ----------------------------------------------------------------------


def _checked(batch: pa.RecordBatch, kinds: Kinds) -> pa.RecordBatch:
    """The columns of a batch, each valid and of a type that its kinds take."""
    batch.validate()
    arrays = []
    for name, array in zip(batch.schema.names, batch.columns, strict=True):
        _validate(name, array)
        if isinstance(array, pa.ExtensionArray):
            array = array.storage
        if array.null_count == len(array):
            array = pa.nulls(len(array))
        unmet = [kind for kind in kinds[name] if not _takes(kind, array.type)]
        if unmet:
            found = str(array.type)
            found = found if len(found) <= 80 else f"{found[:77]}..."
            raise Unreadable(
                f"the column {name!r} is of type {found} ({_NEEDED[unmet[0]]} is needed: convert "
                "the column, or give the field another column by its name)"
            )
        arrays.append(array)
    return _with_columns(batch, arrays)


def _validate(name: str, array: pa.Array) -> None:
    try:
        array.validate(full=True)
    except (pa.ArrowException, ValueError) as error:
        raise Unreadable(
            f"the column {name!r} holds values that are invalid: {error} (a string is UTF-8; "
            "write the file anew)"
        ) from error


def _takes(kind: str, found: pa.DataType) -> bool:
    types = pa.types
    if types.is_null(found):
        return True
    if kind in ("strings", "numbers", "integers"):
        if not (types.is_list(found) or types.is_large_list(found) or _is_fixed_list(found)):
            return False
        found = found.value_type
        if types.is_null(found):
            return True
    if types.is_dictionary(found):
        found = found.value_type
    is_text = types.is_string(found) or types.is_large_string(found) or _is_string_view(found)
    is_int, is_float = types.is_integer(found), types.is_floating(found)
    return bool(
        {
            "string": is_text,
            "strings": is_text,
            "text": is_text or is_int or is_float,
            "id": is_text or is_int,
            "numbers": is_int or is_float,
            "integers": is_int,
        }[kind]
    )


def _is_fixed_list(found: pa.DataType) -> bool:
    return bool(pa.types.is_fixed_size_list(found))


def _is_string_view(found: pa.DataType) -> bool:
    return bool(pa.types.is_string_view(found))


def _sliced(batch: pa.RecordBatch, first_row: int) -> Iterator[pa.RecordBatch]:
    """Parts of a batch that hold :data:`SLICE_BYTES` when they are plain."""
    for first in range(0, batch.num_rows, _WINDOW_ROWS):
        window = batch.slice(first, _WINDOW_ROWS)
        sizes = np.full(len(window), 1, np.int64)
        for array in window.columns:
            sizes += _sizes(array)
        if sizes.max() > _LARGEST_ROW:
            row = int(np.argmax(sizes > _LARGEST_ROW))
            raise Unreadable(
                f"row {first_row + first + row} takes {sizes[row]:,} bytes (a row may take 2 GiB: "
                "shorten its texts, or take it out)"
            )
        ends = np.cumsum(sizes)
        start = 0
        while start < len(window):
            before = ends[start - 1] if start else 0
            end = int(np.searchsorted(ends, before + SLICE_BYTES, "right"))
            end = min(max(end, start + 1), start + SLICE_ROWS)
            yield window.slice(start, end - start)
            start = end


def _sizes(array: pa.Array) -> NDArray[np.int64]:
    """Bytes that each value takes when it is plain, ``[n]`` int64."""
    types, found = pa.types, array.type
    valid = array.is_valid().to_numpy(zero_copy_only=False)
    if types.is_null(found) or not len(array):
        return np.zeros(len(array), np.int64)
    if types.is_dictionary(found):
        indices = array.indices.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
        sizes = _sizes(array.dictionary) if len(array.dictionary) else np.zeros(1, np.int64)
        coded: NDArray[np.int64] = np.where(valid, sizes[np.where(valid, indices, 0)], 0)
        return coded
    if types.is_list(found) or types.is_large_list(found) or _is_fixed_list(found):
        ends = np.cumsum(_lengths(array))
        total = np.append(0, np.cumsum(_sizes(array.flatten())))
        lists: NDArray[np.int64] = 4 + total[ends] - total[np.append(0, ends[:-1])]
        return lists
    if types.is_string(found) or types.is_large_string(found):
        texts: NDArray[np.int64] = pc.binary_length(array).fill_null(0).to_numpy().astype(np.int64)
        return 4 + texts
    if _is_string_view(found):
        views = np.frombuffer(array.buffers()[1], np.int32)[::4]
        lengths = views[array.offset : array.offset + len(array)]
        return 4 + np.where(valid, lengths, 0).astype(np.int64)
    return np.full(len(array), 8, np.int64)


def _lengths(lists: pa.Array) -> NDArray[np.int64]:
    lengths = pc.list_value_length(lists).fill_null(0).to_numpy(zero_copy_only=False)
    found: NDArray[np.int64] = lengths.astype(np.int64)
    return found


def _plain(array: pa.Array) -> pa.Array:
    """A slice of an array in a plain type; lists lie end to end, and null ones are empty.

    By hand where casts of pyarrow (26) look at the whole array, or are wrong.
    """
    types, found = pa.types, array.type
    if types.is_dictionary(found):
        return _plain(array.dictionary_decode())
    if types.is_list(found) or types.is_large_list(found) or _is_fixed_list(found):
        offsets = pa.array(np.append(0, np.cumsum(_lengths(array))), pa.int32())
        return pa.ListArray.from_arrays(offsets, _plain(array.flatten()), mask=array.is_null())
    if types.is_large_string(found):
        return array.take(pa.array(np.arange(len(array)))).cast(pa.string())
    if _is_string_view(found):
        return array.cast(pa.string())
    return array


def _with_columns(batch: pa.RecordBatch, arrays: Sequence[pa.Array]) -> pa.RecordBatch:
    """A batch with other arrays in its columns; without columns it has rows all the same."""
    if not arrays:
        return batch
    return pa.RecordBatch.from_arrays(list(arrays), names=batch.schema.names)


# -- the program -----------------------------------------------------------------------------------


def main() -> None:
    """Answer requests, JSON lines of the standard input, with frames: a letter, a length, bytes.

    R: ready, and the process is up. B: a batch, as an Arrow stream. N: names, as JSON. E: what is
    wrong with the file, as JSON. D: done.
    """
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever a library prints is no answer

    def answer(letter: bytes, content: Any = b"") -> None:
        answers.write(letter + len(content).to_bytes(8, "little"))
        answers.write(content)
        answers.flush()

    _spare_the_machine()
    for line in sys.stdin.buffer:
        request = json.loads(line)
        path, file_format, kinds = request["path"], request["format"], request["kinds"]
        answer(b"R")
        try:
            seconds = CPU_SECONDS + os.path.getsize(path) // BYTES_PER_SECOND
            _allow(seconds)
            if "most" in request:
                for batch in row_slices(path, file_format, request["most"]):
                    answer(b"B", serialized(batch))
                    _allow(seconds)
            elif kinds is None:
                answer(b"N", json.dumps(names_of_columns(path, file_format)).encode())
            else:
                for batch in checked_slices(path, file_format, kinds):
                    answer(b"B", serialized(batch))
                    _allow(seconds)
        except Unreadable as error:
            answer(b"E", json.dumps(["unreadable", str(error)]).encode())
        except BrokenPipeError:  # nobody listens any more
            os._exit(0)
        except Exception as error:  # the other process makes one kind of error of all
            answer(b"E", json.dumps([type(error).__name__, str(error)]).encode())
        else:
            answer(b"D")


def serialized(batch: pa.RecordBatch) -> pa.Buffer:
    """A batch as an Arrow stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue()


def _spare_the_machine() -> None:
    """Where memory runs out, this process is the one to go; and it leaves no image of itself."""
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:  # of Linux
        file.write("1000")
    if resource is None:
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError, ValueError):
        with open("/proc/meminfo") as file:
            kilobytes = {line.split(":")[0]: line.split()[1] for line in file}
        _limit(resource.RLIMIT_DATA, max(1 << 30, int(kilobytes["MemAvailable"]) * 768))


def _allow(seconds: int) -> None:
    """So much more processor time: what takes more, hangs."""
    if resource is not None:
        _limit(resource.RLIMIT_CPU, int(time.process_time()) + 1 + seconds)


def _limit(what: int, value: int) -> None:
    _, most = resource.getrlimit(what)
    resource.setrlimit(what, (value if most < 0 else min(value, most), most))


if __name__ == "__main__":
    main()
