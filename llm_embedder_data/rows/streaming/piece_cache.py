"""Keeps pieces of remote files on this machine, in a folder of limited size."""

from __future__ import annotations

import os
import platform
import time
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.core.file_errors import reason, remedy
from llm_embedder_data.core.files import locked
from llm_embedder_data.core.printable import one_line
from llm_embedder_data.core.sealed_files import is_whole, mapped, sealed_file
from llm_embedder_data.rows.schema.reading import canonical_batches, make_folder
from llm_embedder_data.rows.streaming.byte_ranges import RemoteFile
from llm_embedder_data.rows.streaming.shard_index import forget
from llm_embedder_data.rows.streaming.shard_pieces import Shard, digest_of, write_rows

# The maximum size of the pieces that a process keeps mapped: in bytes, and as a share of the
# folder's limit. A deleted piece takes up disk space as long as a process maps it.
_MOST_OPEN_BYTES = 256 << 20
_OPEN_SHARE = 1 / 8

# A full folder is emptied to this share of its limit, so that it is not full again at once.
_LEFT = 0.9


class PieceCache:
    """Returns the rows of pieces, and fetches pieces that are not on this machine.

    All processes of a machine share the folder. A process that adds a piece to a full folder
    deletes the least recently used pieces. The object can be pickled, and used after a fork.

    Args:
        folder: the folder of the pieces. Each machine uses a separate folder in it, so that a
            machine does not delete pieces that others read.
        most_bytes: maximum size of the folder, not counting what is being fetched.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self.folder, self.most_bytes = folder, most_bytes
        # There is no lock, because a fork could copy it while it is held. Each operation is atomic.
        self._open: OrderedDict[str, tuple[pa.Table, int]] = OrderedDict()  # (rows, n_bytes)

    def __reduce__(self) -> tuple[Any, ...]:
        return PieceCache, (self.folder, self.most_bytes)

    def table_at_hand(self, shard: Shard, number: int) -> pa.Table | None:
        """Return the rows of a piece of a file, with their texts; None if it must be fetched.

        Raises:
            DataError: the piece cannot be opened.
        """
        path = self._path(shard, number)
        kept = self._open.pop(path.name, None)
        if kept is None:
            if not is_whole(path):
                return None
            try:
                kept = _mapped(path)
            except FileNotFoundError:  # another process deleted it just now
                return None
            except OSError as error:
                raise self._cannot_be_kept(shard, error) from error
            self._make_room(kept[1])
        self._open[path.name] = kept
        with suppress(OSError):  # set the access time; the seal holds the modification time
            os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))
        return kept[0]

    def table(self, shard: Shard, number: int) -> pa.Table:
        """Return the rows of a piece of a file, with their texts; fetch it if it is missing.

        Raises:
            DataError: the piece cannot be fetched or kept, or the file has changed.
        """
        table = self.table_at_hand(shard, number)
        if table is not None:
            return table
        path = self._path(shard, number)
        make_folder(path.parent)
        with locked(path):
            table = self.table_at_hand(shard, number)  # another process may have fetched it
            if table is None:
                try:
                    self._write(path, shard, number)
                    kept = _mapped(path)  # before another process may delete it
                except OSError as error:
                    raise self._cannot_be_kept(shard, error) from error
                self._delete_beyond_limit(path)
                self._make_room(kept[1])
                self._open[path.name] = kept
                table = kept[0]
        return table

    def _make_room(self, n_bytes: int) -> None:
        """Drop mapped pieces, the least recently used first, to map another of ``n_bytes``."""
        total = n_bytes + sum(size for _, size in list(self._open.values()))
        most = min(_MOST_OPEN_BYTES, self.most_bytes * _OPEN_SHARE)
        while total > most and self._open:
            with suppress(KeyError):  # emptied by another thread
                total -= self._open.popitem(last=False)[1][1]

    def _cannot_be_kept(self, shard: Shard, error: OSError) -> DataError:
        return DataError.at(
            str(self.folder),
            f"a part of {one_line(shard.address)} cannot be kept: {reason(error)} "
            f"({remedy(error)})",
        )

    def _path(self, shard: Shard, number: int) -> Path:
        return self.folder / platform.node() / f"{shard.name}-{number}.arrow"

    def _write(self, path: Path, shard: Shard, number: int) -> None:
        contents = _contents(shard, number)
        raw = path.with_name(f"{path.name}.{uuid4().hex}.part")
        try:
            write_rows(raw, shard, shard.pieces[number], contents)
            with sealed_file(path) as file, pa.ipc.new_stream(file, shard.kind.schema) as writer:
                for batch in canonical_batches(str(raw), "arrow", shard.kind):
                    writer.write_batch(batch)
        finally:
            with suppress(OSError):
                raw.unlink()

    def _delete_beyond_limit(self, newest: Path) -> None:
        """Delete the least recently used pieces if the folder is full, but never ``newest``."""
        found = []
        with suppress(OSError):
            for entry in os.scandir(newest.parent):
                if entry.name.endswith(".arrow"):
                    with suppress(OSError):
                        state = entry.stat()
                        found.append((state.st_atime_ns, state.st_size, entry.path))
        total = sum(size for _, size, _ in found)
        if total <= self.most_bytes:
            return
        for _, size, path in sorted(found):
            if total <= _LEFT * self.most_bytes:
                return
            if path != str(newest):
                with suppress(PermissionError):  # in use, on Windows
                    Path(path).unlink(missing_ok=True)  # another process may be quicker
                    total -= size


def _mapped(path: Path) -> tuple[pa.Table, int]:
    """Return the memory-mapped rows of a file, and its size in bytes."""
    content = mapped(path)
    return pa.ipc.open_stream(pa.py_buffer(content)).read_all(), len(content)


def _contents(shard: Shard, number: int) -> Sequence[bytes]:
    """Fetch the bytes of a piece, and check that they have not changed since they were indexed.

    Raises:
        DataError: the bytes cannot be fetched, or have changed.
    """
    piece = shard.pieces[number]
    remote = RemoteFile(shard.address)
    contents = [remote.read(start, end) for start, end in piece.ranges]
    if digest_of(contents) != piece.digest:
        forget(shard)
        raise DataError.at(
            one_line(shard.address),
            "has changed since it was indexed (start again: the new file is indexed then)",
        )
    return contents
