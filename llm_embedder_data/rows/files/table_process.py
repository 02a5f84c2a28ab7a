"""The program that reads Arrow and Parquet files, checks them in full, and sends plain columns.

pyarrow trusts much of what a file says about itself. A damaged file can crash the process that
opens it, or keep it busy for minutes. So this module is also a program: it reads files for another
process, which notices if it dies (see :mod:`llm_embedder_data.rows.files.table_readers`). It is run
by path and imports nothing of the package, so that it starts quickly. That is why it is one module:
files to batches, batches to plain columns, and the program, in this order.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

try:
    import resource
except ImportError:  # Windows: only the other process can bound the time
    resource = None  # type: ignore[assignment]

# The kinds of values that each wanted column must hold, by the column's name in the file.
Kinds = Mapping[str, Sequence[str]]

# Whether the system can kill a process that takes more CPU time than allowed.
BOUNDS_CPU = resource is not None

# The most that a slice holds, unless a single row is larger.
SLICE_BYTES = 4 << 20
SLICE_ROWS = 8192

# Rows whose sizes are computed at a time, to find where slices end.
_WINDOW_ROWS = 65536

# The largest row, in bytes: plain lists and strings have 32-bit offsets.
_LARGEST_ROW = 2**31 - 1

# A damaged file may claim any number of rows that take no bytes. Believe at most so many.
_ROWS_PER_BYTE = 1000
_ROWS_IN_ANY_CASE = 1_000_000

# CPU time allowed from one slice to the next: so many seconds, plus one per so many bytes of file.
CPU_SECONDS = 8
BYTES_PER_SECOND = 1 << 20

# Answers to a request begin with a letter and the length of the content in 8 bytes.
READY = b"R"  # the request was received
BATCH = b"B"  # an Arrow stream
NAMES = b"N"  # the columns' names, as JSON
ERROR = b"E"  # [kind, sentence], as JSON: what is wrong with the file; nothing follows
DONE = b"D"  # nothing follows
HEADER_BYTES = 9

_END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"

_NEEDED = {
    "string": "a string",
    "text": "a string or a number",
    "strings": "a list of strings",
    "numbers": "a list of numbers",
    "integers": "a list of integers",
    "id": "an integer or a string",
    "instruction": "a string, or a struct with the strings query and key",
}

# The fields of a struct that are read.
_SIDES = ("query", "key")


class Unreadable(Exception):
    """A file that cannot be used; the message is a sentence with a remedy."""


def checked_slices(path: str, file_format: str, kinds: Kinds) -> Iterator[pa.RecordBatch]:
    """Yield the wanted columns of a file, some rows at a time, in the file's order.

    Every array is fully validated. Types are strings, integers, floats, lists of these, and null
    for a column without values. Columns that the file lacks are left out. A slice holds about
    :data:`SLICE_BYTES`, or one row.

    Args:
        path: the file.
        file_format: ``"parquet"`` or ``"arrow"``.
        kinds: the kinds of values that each wanted column must hold.

    Raises:
        Unreadable: a column appears twice, holds invalid values, or has a type that its kinds do
            not allow; a row is larger than 2 GiB; the file has more or fewer rows than it claims.
        pa.ArrowException, OSError, ValueError, MemoryError: from pyarrow, for a damaged file.
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
    """Yield all columns of a file, of whatever types, some rows at a time; each is valid in full.

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
    """Return the names of a file's columns."""
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


def _arrow_batches(path: str, names: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
    """Yield the batches of an Arrow file or stream; Hugging Face datasets writes streams."""
    with pa.memory_map(path) as source:
        schema = _opened(source).schema
        columns = _existing(schema, names)
        # None reads all columns, and so would an empty list; select() drops them again.
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
            return
        for batch in reader:
            yield batch.select(columns)
        end, size = source.tell(), source.size()
        if end != size:
            raise Unreadable(
                f"{size - end} bytes follow the end of the stream (it is several streams in one "
                "file, or damaged: write it again)"
            )
        source.seek(max(0, size - len(_END_OF_STREAM)))
        if source.read() != _END_OF_STREAM:
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
    """Return the names that are in a schema, all for None; refuse one that is there twice."""
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


def _more_rows_than(most: int, path: str) -> str:
    return (
        f"it claims more than {most:,} rows, which its {os.path.getsize(path):,} bytes cannot hold "
        "(it is damaged: write it again)"
    )


def _lost(claim: str, n_rows: int) -> str:
    return f"{claim}, and {n_rows} were found (it is damaged: write it again)"


# -- batches to plain columns ----------------------------------------------------------------------


def _checked(batch: pa.RecordBatch, kinds: Kinds) -> pa.RecordBatch:
    """Return a batch whose columns are valid and have types that their kinds allow."""
    batch.validate()
    arrays = []
    for name, array in zip(batch.schema.names, batch.columns, strict=True):
        _validate(name, array)
        if isinstance(array, pa.ExtensionArray):
            array = array.storage
        if array.null_count == len(array):
            array = pa.nulls(len(array))
        unmet = [kind for kind in kinds[name] if not _allows(kind, array.type)]
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
            "write the file again)"
        ) from error


def _allows(kind: str, found: pa.DataType) -> bool:
    """Return whether values of a type can be read as values of a kind."""
    types = pa.types
    if types.is_null(found):
        return True
    if kind in ("strings", "numbers", "integers"):
        if not (types.is_list(found) or types.is_large_list(found) or _is_fixed_list(found)):
            return False
        found = found.value_type
        if types.is_null(found):
            return True
    if kind == "instruction" and types.is_struct(found):
        return all(field.name in _SIDES and _allows("string", field.type) for field in found)
    if types.is_dictionary(found):
        found = found.value_type
    is_text = types.is_string(found) or types.is_large_string(found) or _is_string_view(found)
    is_int, is_float = types.is_integer(found), types.is_floating(found)
    return bool(
        {
            "string": is_text,
            "instruction": is_text,
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
    """Yield slices of a batch that hold about :data:`SLICE_BYTES` in plain types."""
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
    """Return the bytes that each value takes in its plain type, ``[n]`` int64."""
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
    if types.is_struct(found):
        fields: NDArray[np.int64] = sum(map(_sizes, _sides(array)), np.zeros(len(array), np.int64))
        return fields
    if types.is_string(found) or types.is_large_string(found):
        texts: NDArray[np.int64] = pc.binary_length(array).fill_null(0).to_numpy().astype(np.int64)
        return 4 + texts
    if _is_string_view(found):
        views = np.frombuffer(array.buffers()[1], np.int32)[::4]
        lengths = views[array.offset : array.offset + len(array)]
        return 4 + np.where(valid, lengths, 0).astype(np.int64)
    return np.full(len(array), 8, np.int64)


def _sides(array: pa.StructArray) -> list[pa.Array]:
    """Return the fields of structs that are read; a field that is missing is null."""
    found = [field.name for field in array.type]
    return [
        pc.struct_field(array, side) if side in found else pa.nulls(len(array)) for side in _SIDES
    ]


def _lengths(lists: pa.Array) -> NDArray[np.int64]:
    """Return the length of each list, 0 for null, ``[n]`` int64."""
    lengths = pc.list_value_length(lists).fill_null(0).to_numpy(zero_copy_only=False)
    found: NDArray[np.int64] = lengths.astype(np.int64)
    return found


def _plain(array: pa.Array) -> pa.Array:
    """Return a slice of an array in a plain type, its lists contiguous and null lists empty.

    Done by hand where pyarrow's casts (26) convert the whole array behind the slice, or are wrong.
    """
    types, found = pa.types, array.type
    if types.is_dictionary(found):
        return _plain(array.dictionary_decode())
    if types.is_list(found) or types.is_large_list(found) or _is_fixed_list(found):
        offsets = pa.array(np.append(0, np.cumsum(_lengths(array))), pa.int32())
        return pa.ListArray.from_arrays(offsets, _plain(array.flatten()), mask=array.is_null())
    if types.is_struct(found):
        return pa.StructArray.from_arrays(list(map(_plain, _sides(array))), list(_SIDES))
    if types.is_large_string(found):
        return array.take(pa.array(np.arange(len(array)))).cast(pa.string())
    if _is_string_view(found):
        return array.cast(pa.string())
    return array


def _with_columns(batch: pa.RecordBatch, arrays: Sequence[pa.Array]) -> pa.RecordBatch:
    """Return a batch with other arrays; a batch without columns keeps its number of rows."""
    if not arrays:
        return batch
    return pa.RecordBatch.from_arrays(list(arrays), names=batch.schema.names)


# -- the program -----------------------------------------------------------------------------------


def main() -> None:
    """Read requests, one JSON line each, from standard input; write answers to standard output."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # so that no library can print among answers

    def answer(letter: bytes, content: Any = b"") -> None:
        answers.write(letter + len(content).to_bytes(HEADER_BYTES - 1, "little"))
        answers.write(content)
        answers.flush()

    _limit_this_process()
    for line in sys.stdin.buffer:
        request = json.loads(line)
        answer(READY)
        try:
            _answer_request(answer, request)
        except Unreadable as error:
            answer(ERROR, json.dumps(["unreadable", str(error)]).encode())
        except BrokenPipeError:  # the other process is gone
            os._exit(0)
        except Exception as error:  # the other process turns any error into a DataError
            answer(ERROR, json.dumps([type(error).__name__, str(error)]).encode())
        else:
            answer(DONE)


def _answer_request(answer: Callable[[bytes, Any], None], request: Mapping[str, Any]) -> None:
    """Send the batches of a file, or the names of its columns if neither kinds nor rows are given.

    Args:
        answer: sends a letter and content.
        request: ``path``, ``format`` and ``kinds``; with ``most``, all columns of so many rows.
    """
    path, file_format, kinds = request["path"], request["format"], request["kinds"]
    seconds = CPU_SECONDS + os.path.getsize(path) // BYTES_PER_SECOND
    _allow_cpu(seconds)
    if "most" in request:
        batches = row_slices(path, file_format, request["most"])
    elif kinds is None:
        answer(NAMES, json.dumps(names_of_columns(path, file_format)).encode())
        return
    else:
        batches = checked_slices(path, file_format, kinds)
    for batch in batches:
        answer(BATCH, serialized(batch))
        _allow_cpu(seconds)


def serialized(batch: pa.RecordBatch) -> pa.Buffer:
    """Return a batch as an Arrow stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue()


def _limit_this_process() -> None:
    """Bound this process' memory, make it the first to be killed, and let it dump no core."""
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:  # Linux
        file.write("1000")
    if resource is None:
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError, ValueError):
        with open("/proc/meminfo") as file:
            kilobytes = {line.split(":")[0]: line.split()[1] for line in file}
        _limit(resource.RLIMIT_DATA, max(1 << 30, int(kilobytes["MemAvailable"]) * 768))


def _allow_cpu(seconds: int) -> None:
    """Allow so many more seconds of CPU time; then the system kills this process."""
    if resource is not None:
        _limit(resource.RLIMIT_CPU, int(time.process_time()) + 1 + seconds)


def _limit(limited: int, value: int) -> None:
    _, most = resource.getrlimit(limited)
    resource.setrlimit(limited, (value if most < 0 else min(value, most), most))


if __name__ == "__main__":
    main()
