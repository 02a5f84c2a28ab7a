"""Pieces of a Parquet or Arrow file that can be read separately: row groups or record batches."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.core.sealed_files import mapped
from llm_embedder_data.rows.files.file_formats import Format
from llm_embedder_data.rows.files.signatures import ARROW_STREAM_END
from llm_embedder_data.rows.schema.row_kind import RowKind

# Neighbouring row groups are merged into pieces of at least this many bytes, because a request
# takes as much time as a megabyte.
_LEAST_BYTES = 1 << 20

# Columns that are not read, between columns that are, are only skipped from this size on, in bytes.
_LEAST_GAP = 1 << 16

# The number of rows that are decoded at a time.
_ROWS_AT_ONCE = 1024

_ARROW_MAGIC = b"ARROW1\0\0"

Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a file that can be read separately.

    Attributes:
        groups: the numbers of its row groups; empty for record batches.
        ranges: its byte ranges in the file, (start, end) each.
        n_rows: the number of its rows.
        digest: the digest of the content of its ranges.
    """

    groups: tuple[int, ...]
    ranges: tuple[Range, ...]
    n_rows: int
    digest: str

    @property
    def n_bytes(self) -> int:
        """The size of its ranges in bytes."""
        return sum(end - start for start, end in self.ranges)


@dataclass(frozen=True, slots=True)
class Pieces:
    """A file in pieces.

    Attributes:
        header: bytes that every piece needs: the footer of a Parquet file, or an Arrow schema.
        pieces: in the order of the file's rows.
    """

    header: bytes
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Shard:
    """A remote file in pieces.

    Attributes:
        address: the address of the file.
        name: a name that is unique among all versions of all files.
        container: ``"parquet"`` or ``"arrow"``.
        kind: the kind of its rows, with the names of the file's columns.
        header: a sealed file on this machine with the bytes that every piece needs.
        pieces: the pieces, in the order of the file's rows.
        single: columns that hold a single text per row, although lists of texts are read.
        decoded_bytes: the size of all its rows on this machine, in bytes.
    """

    address: str
    name: str
    container: Format
    kind: RowKind
    header: Path
    pieces: tuple[Piece, ...]
    single: tuple[str, ...] = ()
    decoded_bytes: int = 0

    @property
    def columns(self) -> list[str]:
        """The columns that are read, by their names in the file."""
        return [column.field for column in self.kind.file_columns]


def pieces_of(path: Path, container: Format, columns: Sequence[str]) -> Pieces:
    """Return the pieces of a local file that was checked in full.

    Args:
        path: the file.
        container: ``"parquet"`` or ``"arrow"``.
        columns: the names of the columns to read.

    Raises:
        DataError: the file has columns that cannot be read in pieces.
    """
    if container == "parquet":
        header, parts = _row_groups(path, set(columns))
    else:
        header, parts = _record_batches(path)
    with open(path, "rb") as file:
        pieces = tuple(
            Piece(groups, ranges, n_rows, digest_of(_read(file, ranges)))
            for groups, ranges, n_rows in _joined(parts)
            if n_rows
        )
    return Pieces(header, pieces)


def digest_of(contents: Sequence[bytes]) -> str:
    """Return the digest of the content of a piece's ranges."""
    hashed = xxhash.xxh3_128()
    for content in contents:
        hashed.update(content)
    return str(hashed.hexdigest())


def write_rows(target: Path, shard: Shard, piece: Piece, contents: Sequence[bytes]) -> None:
    """Write the rows of a piece as an Arrow stream.

    The bytes must be those of a file that was checked in full, because this process decodes them
    with pyarrow, which damaged bytes can crash.

    Args:
        target: the file to write.
        shard: the file that the piece is from.
        piece: the piece.
        contents: the content of each of the piece's ranges, ``[len(piece.ranges)]``.
    """
    if shard.container == "arrow":
        content = b"".join([mapped(shard.header).tobytes(), *contents, ARROW_STREAM_END])
        reader: Iterable[pa.RecordBatch] = pa.ipc.open_stream(content)
    else:
        reader = _parquet_batches(shard, piece, contents)
    with open(target, "wb") as file:
        write_stream(file, (as_lists(_wanted(batch, shard), shard.single) for batch in reader))


def write_stream(file: IO[bytes], batches: Iterable[pa.RecordBatch]) -> None:
    """Write batches, at least one, as an Arrow stream."""
    batches = iter(batches)
    first = next(batches)
    with pa.ipc.new_stream(file, first.schema) as writer:
        for batch in itertools.chain([first], batches):
            writer.write_batch(batch)


def as_lists(batch: pa.RecordBatch, columns: Sequence[str]) -> pa.RecordBatch:
    """Return a batch in which the texts of some columns are lists of length 1; null stays null."""
    for name in columns:
        at = batch.schema.get_field_index(name)
        texts = batch.column(at)
        if pa.types.is_dictionary(texts.type):
            texts = texts.dictionary_decode()
        offsets = pa.array(np.arange(len(texts) + 1), pa.int32())
        lists = pa.ListArray.from_arrays(offsets, texts, mask=texts.is_null())
        batch = batch.set_column(at, name, lists)
    return batch


# --------------------------------------------------------------------------------------------------

_Part = tuple[tuple[int, ...], tuple[Range, ...], int]  # groups, ranges, rows


def _row_groups(path: Path, columns: set[str]) -> tuple[bytes, list[_Part]]:
    metadata = pq.read_metadata(path)
    with open(path, "rb") as file:
        file.seek(-8, io.SEEK_END)
        footer_bytes = int.from_bytes(file.read(4), "little") + 8
        file.seek(-footer_bytes, io.SEEK_END)
        header = file.read()
    parts: list[_Part] = []
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        ranges = []
        for column in map(group.column, range(group.num_columns)):
            if column.path_in_schema.partition(".")[0] in columns:
                start = column.data_page_offset
                if column.has_dictionary_page and column.dictionary_page_offset:
                    start = min(start, column.dictionary_page_offset)
                ranges.append((start, start + column.total_compressed_size))
        parts.append(((number,), tuple(_merged(sorted(ranges))), group.num_rows))
    return header, parts


def _record_batches(path: Path) -> tuple[bytes, list[_Part]]:
    parts: list[_Part] = []
    with pa.OSFile(str(path)) as file:
        if file.read(len(_ARROW_MAGIC)) != _ARROW_MAGIC:
            file.seek(0)
        begin = file.tell()
        reader = pa.ipc.MessageReader.open_stream(file)
        message = reader.read_next_message()
        schema, end = pa.ipc.read_schema(message), file.tell()
        file.seek(begin)
        header = file.read(end - begin)
        for start, end, kind in _messages(file, reader):
            if kind != "record batch":
                raise DataError.at(
                    str(path),
                    f"it has messages of the kind {kind}, as dictionary-encoded columns need, and "
                    "cannot be streamed (write such columns as plain strings, or as Parquet)",
                )
            file.seek(start)
            batch = pa.ipc.read_record_batch(pa.ipc.read_message(file), schema)
            parts.append(((), ((start, end),), batch.num_rows))
            file.seek(end)
    return header, parts


def _wanted(batch: pa.RecordBatch, shard: Shard) -> pa.RecordBatch:
    return batch.select([name for name in batch.schema.names if name in shard.columns])


def _parquet_batches(
    shard: Shard, piece: Piece, contents: Sequence[bytes]
) -> Iterator[pa.RecordBatch]:
    parts = [(start, content) for (start, _), content in zip(piece.ranges, contents, strict=True)]
    source = _Parts(parts, max(end for _, end in piece.ranges))
    footer = pq.read_metadata(pa.BufferReader(mapped(shard.header).tobytes()))
    file = pq.ParquetFile(pa.PythonFile(source), metadata=footer)
    names = [name for name in file.schema_arrow.names if name in shard.columns]
    yield from file.iter_batches(_ROWS_AT_ONCE, row_groups=list(piece.groups), columns=names)


def _messages(file: pa.NativeFile, reader: pa.ipc.MessageReader) -> Iterator[tuple[int, int, str]]:
    """Yield (start, end, kind) of each further message."""
    while True:
        start = file.tell()
        try:
            message = reader.read_next_message()
        except (StopIteration, EOFError):
            return
        yield start, file.tell(), message.type


def _joined(parts: Sequence[_Part]) -> Iterator[_Part]:
    """Yield parts, after merging small neighbours."""
    groups: tuple[int, ...] = ()
    ranges: list[Range] = []
    n_rows = 0
    for part_groups, part_ranges, part_rows in parts:
        groups, n_rows = groups + part_groups, n_rows + part_rows
        ranges = _merged([*ranges, *part_ranges])
        if sum(end - start for start, end in ranges) >= _LEAST_BYTES:
            yield groups, tuple(ranges), n_rows
            groups, ranges, n_rows = (), [], 0
    yield groups, tuple(ranges), n_rows


def _merged(ranges: Sequence[Range]) -> list[Range]:
    """Return ascending ranges, after merging those with a small gap between them."""
    merged: list[Range] = []
    for start, end in ranges:
        if merged and start - merged[-1][1] < _LEAST_GAP:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _read(file: Any, ranges: Sequence[Range]) -> list[bytes]:
    contents = []
    for start, end in ranges:
        file.seek(start)
        contents.append(file.read(end - start))
    return contents


class _Parts(io.RawIOBase):
    """A file object that only has some parts of a file; all other bytes are zeros.

    pyarrow may read more bytes than it needs, but ignores the others.

    Args:
        parts: (start, content) of each part.
        size: the size of the file in bytes, up to the end of the last part.
    """

    def __init__(self, parts: Sequence[tuple[int, bytes]], size: int) -> None:
        self._parts, self._size, self._at = parts, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        begin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = begin + offset
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        end = self._size if size is None or size < 0 else min(self._at + size, self._size)
        found = bytearray(max(end - self._at, 0))
        for start, content in self._parts:
            first, last = max(start, self._at), min(start + len(content), end)
            if first < last:
                found[first - self._at : last - self._at] = content[first - start : last - start]
        self._at = max(self._at, end)
        return bytes(found)
