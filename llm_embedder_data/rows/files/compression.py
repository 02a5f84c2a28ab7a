"""Opens compressed files as streams of their decompressed content."""

from __future__ import annotations

import bz2
import io
import lzma
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from llm_embedder_data.rows.files.signatures import (
    COMPRESSION_SIGNATURES,
    compression_of,
    head_of,
)
from llm_embedder_data.rows.files.watched_reads import opened_file

# File name endings of compressed files. The content decides how a file is decompressed; an ending
# is only removed, to see the ending before it, which names the format.
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2", ".xz": "xz"}

_READ_BYTES = 1 << 17  # of the compressed file at a time
_MOST_XZ_BYTES = 1 << 28  # of memory that decompressing xz may take; a file of xz -9 takes 65 MiB


class Decompressor(Protocol):
    """The decompressor of one stream, with the interface of :class:`bz2.BZ2Decompressor`."""

    @property
    def eof(self) -> bool:
        """Whether the stream has ended."""

    @property
    def needs_input(self) -> bool:
        """Whether the next call of :meth:`decompress` needs more input."""

    @property
    def unused_data(self) -> bytes:
        """The input after the end of the stream."""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Take some compressed data; return up to ``max_length`` bytes of the content."""


def opened(path: str) -> Any:
    """Open a file as a binary stream of its content, decompressed if its first bytes say so.

    A compressed file may hold several members, one after the other. After the last one there may be
    zeros, as gzip allows, but nothing else.

    Raises:
        OSError: the file cannot be read. Reading the stream raises it too, or :class:`EOFError`, if
            the compressed data is damaged or ends too early.
    """
    compression = compression_of(head_of(path))
    if compression in (None, "zstd"):
        watched = opened_file(path)
        # The path is passed as bytes, because a file's name may not be UTF-8.
        file = pa.OSFile(os.fsencode(path)) if watched is None else pa.PythonFile(watched, "r")
        return pa.CompressedInputStream(file, "zstd") if compression else file
    return io.BufferedReader(_Decompressed(path, compression), _READ_BYTES)


def compression_suffix(path: str) -> str:
    """Return the ending of a path, such as ``".gz"``, if it names a compression; else ``""``."""
    suffix = Path(path).suffix
    return suffix if suffix.lower() in COMPRESSIONS else ""


# --------------------------------------------------------------------------------------------------


class _Gzip:
    """The decompressor of one gzip member; zlib checks its checksum and length."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._inflate.eof

    @property
    def needs_input(self) -> bool:
        return not self._inflate.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inflate.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._inflate.decompress(self._inflate.unconsumed_tail + data, max_length)


_DECOMPRESSORS: dict[str, Callable[[], Decompressor]] = {
    "gzip": _Gzip,
    "bz2": bz2.BZ2Decompressor,
    "xz": lambda: lzma.LZMADecompressor(memlimit=_MOST_XZ_BYTES),
}


class _Decompressed(io.RawIOBase):
    """A stream of the content of all members of a compressed file, one after the other."""

    def __init__(self, path: str, compression: str) -> None:
        self._compression = compression
        # Closed with this stream.
        self._file = opened_file(path) or open(path, "rb")  # noqa: SIM115
        self._member = _DECOMPRESSORS[compression]()
        self._pending = b""  # read from the file, but not yet decompressed

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer).cast("B")
        while len(view):
            if self._member.eof and not self._begin_next_member():
                break
            if content := self._decompress(len(view)):
                view[: len(content)] = content
                return len(content)
        return 0

    def _decompress(self, max_length: int) -> bytes:
        """Return some of the member's content, or nothing if it needs more input."""
        if self._member.needs_input and not self._pending:
            self._pending = self._file.read(_READ_BYTES)
            if not self._pending:
                raise EOFError(f"the {self._compression} data was cut off: it ends too early")
        data = b""
        if self._member.needs_input:
            data, self._pending = self._pending, b""
        try:
            return self._member.decompress(data, max_length)
        except (zlib.error, lzma.LZMAError, OSError, ValueError) as error:
            raise OSError(f"the {self._compression} data is damaged: {error}") from error

    def _begin_next_member(self) -> bool:
        """Begin the member after one that has ended; return False if there is none."""
        rest = (self._member.unused_data + self._pending).lstrip(b"\x00")
        while not rest:
            rest = self._file.read(_READ_BYTES)
            if not rest:
                return False
            rest = rest.lstrip(b"\x00")
        mark = next(mark for mark, name in COMPRESSION_SIGNATURES if name == self._compression)
        rest += self._file.read(max(0, len(mark) - len(rest)))
        if not rest.startswith(mark):
            raise OSError(
                f"something else follows the {self._compression} data: {rest[:12]!r} (remove it)"
            )
        self._member, self._pending = _DECOMPRESSORS[self._compression](), rest
        return True
