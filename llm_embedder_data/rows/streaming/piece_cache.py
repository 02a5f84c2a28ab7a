"""Pieces of files elsewhere that are kept on this machine, in a folder of bounded size."""

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

# The most that a process keeps mapped, and the share of the folder's limit that it may be. A piece
# that was deleted takes disk until it is let go.
_MOST_OPEN_BYTES = 256 << 20
_OPEN_SHARE = 1 / 8

# A full folder is emptied down to this share, so that it is not looked through for each piece.
_LEFT = 0.9


class PieceCache:
    """Gives the rows of pieces: those on this machine, or else fetched.

    All processes of a machine share the folder. Whoever adds a piece to a full folder deletes the
    least recently used ones. It can be pickled, and used after a fork.

    Args:
        folder: where pieces are kept. Those of each machine go into a folder of its own, as others
            may still read what one deletes.
        most_bytes: that the folder holds, but for what is being fetched.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self.folder, self.most_bytes = folder, most_bytes
        # Without a lock, which a fork could copy while it is held: each operation is atomic.
        self._open: OrderedDict[str, tuple[pa.Table, int]] = OrderedDict()  # with their bytes

    def __reduce__(self) -> tuple[Any, ...]:
        return PieceCache, (self.folder, self.most_bytes)

    def table_at_hand(self, shard: Shard, number: int) -> pa.Table | None:
        """Return the rows of a piece of a file, with their texts; None if it must be fetched."""
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
        with suppress(OSError):  # the time of use; that of modification is part of the seal
            os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))
        return kept[0]

    def table(self, shard: Shard, number: int) -> pa.Table:
        """Return the rows of a piece of a file, with their texts; fetch it if need be.

        Raises:
            DataError: the piece cannot be fetched or kept, or the file has changed.
        """
        table = self.table_at_hand(shard, number)
        if table is not None:
            return table
        path = self._path(shard, number)
        make_folder(path.parent)
        with locked(path):
            table = self.table_at_hand(shard, number)  # of a process that was quicker
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
        """Let go of mapped pieces until there is room for another of ``n_bytes``."""
        total = n_bytes + sum(own for _, own in list(self._open.values()))
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
        """Delete the least recently used pieces, but for the newest."""
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
    """Return the memory-mapped rows in a file, and its bytes."""
    content = mapped(path)
    return pa.ipc.open_stream(pa.py_buffer(content)).read_all(), len(content)


def _contents(shard: Shard, number: int) -> Sequence[bytes]:
    """Fetch the bytes of a piece, and check that they are those that were indexed."""
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
