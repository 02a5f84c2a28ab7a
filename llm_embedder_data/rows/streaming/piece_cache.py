"""Pieces of files elsewhere that are kept on this machine, in a folder of bounded size."""

from __future__ import annotations

import os
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
from llm_embedder_data.rows.reading import canonical_batches, make_folder
from llm_embedder_data.rows.streaming.byte_ranges import RemoteFile
from llm_embedder_data.rows.streaming.shard_pieces import Shard, digest_of, write_rows

# Pieces that a process keeps mapped. One that was deleted meanwhile takes disk until it is let go.
_MOST_OPEN = 64


class PieceCache:
    """Gives the rows of pieces: those on this machine, or else fetched.

    All processes of a machine share the folder. Whoever adds a piece to a full folder deletes those
    that were used the longest time ago. It can be pickled, and used after a fork.

    Args:
        folder: where pieces are kept.
        most_bytes: that the folder holds, but for what is being fetched.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self.folder, self.most_bytes = folder, most_bytes
        # Without a lock, which a fork could copy while it is held: each operation is atomic.
        self._open: OrderedDict[str, pa.Table] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "most_bytes": self.most_bytes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def table(self, shard: Shard, number: int) -> pa.Table:
        """Return the rows of a piece of a file, with their texts.

        Raises:
            DataError: the piece cannot be fetched or kept, or the file has changed.
        """
        path = self._path(shard, number)
        table = self._open.pop(path.name, None)
        while table is None:
            self.fetch(shard, number)
            with suppress(OSError):  # deleted by another process meanwhile
                table = pa.ipc.open_stream(pa.py_buffer(mapped(path))).read_all()
        self._open[path.name] = table
        while len(self._open) > _MOST_OPEN:
            with suppress(KeyError):  # emptied by another thread
                self._open.popitem(last=False)
        return table

    def fetch(self, shard: Shard, number: int) -> None:
        """Fetch a piece, unless it is on this machine already.

        Raises:
            DataError: as :meth:`table`.
        """
        path = self._path(shard, number)
        if not is_whole(path):
            make_folder(self.folder)
            with locked(path):
                if not is_whole(path):
                    self._write(path, shard, number)
                    self._delete_beyond_limit(path)
        with suppress(OSError):  # the time of use; that of modification is part of the seal
            os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))

    def _path(self, shard: Shard, number: int) -> Path:
        return self.folder / f"{shard.name}-{number}.arrow"

    def _write(self, path: Path, shard: Shard, number: int) -> None:
        contents = _contents(shard, number)
        raw = path.with_name(f"{path.name}.{uuid4().hex}.part")
        try:
            write_rows(raw, shard, shard.pieces[number], contents)
            with sealed_file(path) as file, pa.ipc.new_stream(file, shard.kind.schema) as writer:
                for batch in canonical_batches(str(raw), "arrow", shard.kind):
                    writer.write_batch(batch)
        except OSError as error:
            raise DataError.at(
                str(self.folder),
                f"a part of {one_line(shard.address)} cannot be kept: {reason(error)} "
                f"({remedy(error)})",
            ) from error
        finally:
            with suppress(OSError):
                raw.unlink()

    def _delete_beyond_limit(self, newest: Path) -> None:
        """Delete the pieces that were used the longest time ago, but for the newest."""
        found = []
        with suppress(OSError):
            for entry in os.scandir(self.folder):
                if entry.name.endswith(".arrow"):
                    with suppress(OSError):
                        state = entry.stat()
                        found.append((state.st_atime_ns, state.st_size, entry.path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self.most_bytes:
                return
            if path != str(newest):
                with suppress(PermissionError):  # in use, on Windows
                    Path(path).unlink(missing_ok=True)  # another process may be quicker
                    total -= size


def _contents(shard: Shard, number: int) -> Sequence[bytes]:
    """Fetch the bytes of a piece, and check that they are those that were indexed."""
    piece = shard.pieces[number]
    remote = RemoteFile(shard.address)
    contents = [remote.read(start, end) for start, end in piece.ranges]
    if digest_of(contents) != piece.digest:
        raise DataError.at(
            one_line(shard.address),
            "has changed since it was indexed (start again: the new file is indexed then)",
        )
    return contents
