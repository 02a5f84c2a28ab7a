"""The index of a remote file: its rows without their texts, and the byte ranges of its pieces.

The whole file is fetched once, checked like any file, indexed and deleted. So everything that does
not need texts (counts, filters, plans, faults) is known before training, as for local files. The
digest is also that of a local file.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from threading import BoundedSemaphore
from typing import cast

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from llm_embedder_data.core.atomic_folder import atomic_folder
from llm_embedder_data.core.checked_json import (
    CHECKED_JSON_SUFFIX,
    read_checked_json,
    write_checked_json,
)
from llm_embedder_data.core.errors import DataError
from llm_embedder_data.core.file_errors import reason, remedy
from llm_embedder_data.core.files import locked
from llm_embedder_data.core.printable import one_line
from llm_embedder_data.core.sealed_files import is_whole, sealed_file
from llm_embedder_data.rows.faults.file_shapes import ids_for_texts, missing_fields
from llm_embedder_data.rows.files.content_digest import content_digest
from llm_embedder_data.rows.files.file_formats import Format
from llm_embedder_data.rows.files.signatures import ARROW_STREAM
from llm_embedder_data.rows.files.tables import table_columns, table_rows
from llm_embedder_data.rows.schema.reading import (
    CACHE_VERSION,
    FIELD_NAMES,
    fields_seen,
    make_folder,
    open_cached,
    read_file,
)
from llm_embedder_data.rows.schema.row_kind import RowKind
from llm_embedder_data.rows.sources.native_shape import is_native, with_id_field
from llm_embedder_data.rows.sources.sources import Source
from llm_embedder_data.rows.streaming.byte_ranges import FileState, RemoteFile
from llm_embedder_data.rows.streaming.shard_pieces import (
    Piece,
    Shard,
    as_lists,
    pieces_of,
    write_stream,
)

# Part of the name of an index. Raise it when the content of indices changes.
_VERSION = 1

# The files of an index.
_ROWS, _HEADER, _PIECES = "rows.arrow", "header.bin", f"pieces{CHECKED_JSON_SUFFIX}"

# Limits how many files are indexed at the same time, because each is on this machine meanwhile.
_being_made = BoundedSemaphore(2)

# The bytes that are fetched at a time while a file is indexed.
_FETCHED_BYTES = 8 << 20

# How Parquet files, Arrow files and Arrow streams begin.
_MAGICS: Mapping[bytes, Format] = {
    b"PAR1": "parquet",
    b"ARROW1": "arrow",
    ARROW_STREAM: "arrow",
}

_NOT_NATIVE = (
    "its rows do not have the shape that can be streamed: a query with pos and neg, or columns "
    "that the source names so (the verb convert writes such files)"
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class IndexedShard:
    """A remote file and its index.

    Attributes:
        shard: the file in pieces.
        digest: the digest of its whole content.
        rows: a memory-mapped dataset of all its rows, without the column ``query``, and with null
            in place of each text of ``key``.
    """

    shard: Shard
    digest: str
    rows: datasets.Dataset


def indexed(address: str, source: Source, kind: RowKind, folder: Path) -> IndexedShard:
    """Return the index of a file; the first call for a version of the file makes the index.

    Args:
        address: the address of the file.
        source: the source that the file belongs to.
        kind: the kind of the rows.
        folder: the folder of all caches.

    Raises:
        DataError: the file cannot be fetched, or its rows cannot be streamed.
        ConfigError: the package that opens such addresses is not installed.
    """
    state = RemoteFile(address).state()
    columns = [column.name for column in kind.columns]
    contents = (_VERSION, CACHE_VERSION, address, state, source.format)
    name = xxhash.xxh3_128_hexdigest(repr((*contents, kind.name, kind.fields, columns)).encode())
    indices = folder / "streamed"
    found = _opened(address, indices / name, kind)
    if found is None:
        make_folder(indices)
        with _being_made, locked(indices / f"{name}.index"):
            found = _opened(address, indices / name, kind)
            if found is None:
                _make(address, indices / name, state, source, kind)
                found = _opened(address, indices / name, kind)
    if found is None:
        raise DataError.at(
            str(indices), "what was indexed cannot be read back (is the disk sound?)"
        )
    return found


def forget(shard: Shard) -> None:
    """Delete the index of a file, so that the next start indexes the file again."""
    shutil.rmtree(shard.header.parent, ignore_errors=True)


# --------------------------------------------------------------------------------------------------


def _opened(address: str, folder: Path, kind: RowKind) -> IndexedShard | None:
    """Return the index in a folder; None if there is none, or a file of it is damaged."""
    kept = read_checked_json(folder / _PIECES)
    rows, header = folder / _ROWS, folder / _HEADER
    if not isinstance(kept, dict) or not is_whole(rows) or not is_whole(header):
        return None
    shard = Shard(
        address=address,
        name=folder.name,
        container=kept["container"],
        kind=replace(kind, fields=tuple(map(tuple, kept["fields"]))),
        header=header,
        pieces=tuple(
            Piece(
                groups=tuple(piece["groups"]),
                ranges=tuple((start, end) for start, end in piece["ranges"]),
                n_rows=piece["n_rows"],
                digest=piece["digest"],
            )
            for piece in kept["pieces"]
        ),
        single=tuple(kept["single"]),
        decoded_bytes=kept["decoded_bytes"],
    )
    return IndexedShard(shard, kept["digest"], open_cached(rows, folder.name))


def _make(address: str, folder: Path, state: FileState, source: Source, kind: RowKind) -> None:
    """Fetch a file, index it, and delete it.

    Raises:
        DataError: the file cannot be fetched, or its rows cannot be streamed.
    """
    container = _container_of(address, state)
    if container is None:
        raise DataError.at(
            one_line(address),
            "is neither Parquet nor Arrow, and other files cannot be read in parts (convert it, or "
            "leave out streaming)",
        )
    try:
        with atomic_folder(folder, overwrite=True) as part:
            beside = part / "fetched"  # a folder for the file, and for caches of its check
            beside.mkdir()
            fetched = beside / f"whole.{container}"
            _log.info("Fetching %s to index it (%s bytes)", one_line(address), f"{state.size:,}")
            with open(fetched, "wb") as file:
                for start in range(0, state.size, _FETCHED_BYTES):
                    end = min(start + _FETCHED_BYTES, state.size)
                    file.write(RemoteFile(address).read(start, end))
            if RemoteFile(address).state(anew=True) != state:
                raise DataError.at(
                    one_line(address),
                    "changed while it was read (start again when it is complete)",
                )
            try:
                _index(fetched, part, replace(source, format=container), kind)
            except DataError as error:
                said = re.sub(rf"{re.escape(str(beside))}/[\w.]+", lambda _: address, str(error))
                raise error.reworded(said) from error
            shutil.rmtree(beside)
    except OSError as error:
        raise DataError.at(
            str(folder.parent),
            f"{one_line(address)} cannot be kept: {reason(error)} ({remedy(error)})",
        ) from error


def _container_of(address: str, state: FileState) -> Format | None:
    head = RemoteFile(address).read(0, min(max(map(len, _MAGICS)), state.size))
    found = [container for magic, container in _MAGICS.items() if head.startswith(magic)]
    return found[0] if found else None


def _index(path: Path, folder: Path, source: Source, kind: RowKind) -> None:
    """Write the index of a local copy of a file into a folder.

    Raises:
        DataError: the file's rows are bad, or cannot be streamed.
    """
    beside, container = path.parent, cast(Format, source.format)
    single = _single_texts(path, container, kind)
    read = path if not single else _with_lists(path, container, single)
    read_as: Format = container if not single else "arrow"
    local = replace(source, files=(str(read),), format=read_as, streaming=False)
    if not is_native(local, kind, beside):
        columns = table_columns(str(path), container)
        sentence = missing_fields(kind.name, kind.file_columns, columns)
        raise DataError.at(str(path), sentence or _NOT_NATIVE)
    kind = with_id_field(kind, str(read), beside)
    rows = read_file(str(read), kind, format=read_as, cache_dir=beside)
    sound = pc.is_null(rows.data.column("fault")).to_numpy()
    if sentence := ids_for_texts(rows.data.column("key"), sound):
        raise DataError.at(str(path), sentence)
    found = pieces_of(path, container, [column.field for column in kind.file_columns])
    if sum(piece.n_rows for piece in found.pieces) != len(rows):
        raise DataError.at(str(path), "its parts have other rows than the whole (write it again)")
    with sealed_file(folder / _ROWS) as file:
        schema = _without_texts(rows.data.schema)
        metadata = {FIELD_NAMES: json.dumps(fields_seen(rows))}
        with pa.ipc.new_stream(file, schema.with_metadata(metadata)) as writer:
            for batch in _batches_without_texts(rows, schema):
                writer.write_batch(batch)
    with sealed_file(folder / _HEADER) as file:
        file.write(found.header)
    write_checked_json(
        folder / _PIECES,
        {
            "container": container,
            "fields": list(kind.fields),
            "digest": content_digest(str(path), beside),
            "pieces": [asdict(piece) for piece in found.pieces],
            "single": single,
            "decoded_bytes": rows.data.nbytes,
        },
    )


def _single_texts(path: Path, container: Format, kind: RowKind) -> list[str]:
    """Return the columns that hold a single text per row, although lists of texts are read."""
    first = next(table_rows(str(path), container, most=1), None)
    if first is None:
        return []  # a file without rows
    schema = first.schema
    lists = [column.field for column in kind.file_columns if column.kind == "strings"]
    return [name for name in lists if name in schema.names and _is_text(schema.field(name).type)]


def _is_text(found: pa.DataType) -> bool:
    if pa.types.is_dictionary(found):
        found = found.value_type
    return bool(pa.types.is_string(found) or pa.types.is_large_string(found))


def _with_lists(path: Path, container: Format, single: list[str]) -> Path:
    """Write a copy of a file, in which the single texts of some columns become lists."""
    target = path.with_name("lists.arrow")
    with open(target, "wb") as file:
        write_stream(file, (as_lists(b, single) for b in table_rows(str(path), container)))
    return target


def _without_texts(schema: pa.Schema) -> pa.Schema:
    fields = [field for field in schema if field.name != "query"]
    nulls = pa.list_(pa.null())
    return pa.schema([pa.field("key", nulls) if field.name == "key" else field for field in fields])


def _batches_without_texts(rows: datasets.Dataset, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for batch in rows.data.table.to_batches():
        yield pa.RecordBatch.from_arrays(
            [
                _nulls_for(batch.column("key")) if name == "key" else batch.column(name)
                for name in schema.names
            ],
            schema=schema,
        )


def _nulls_for(keys: pa.ListArray) -> pa.ListArray:
    """Return the lists with null in place of each key."""
    lengths = pc.list_value_length(keys).fill_null(0).to_numpy()
    offsets = np.append(0, np.cumsum(lengths))
    return pa.ListArray.from_arrays(
        pa.array(offsets, pa.int32()), pa.nulls(int(offsets[-1])), mask=keys.is_null()
    )
