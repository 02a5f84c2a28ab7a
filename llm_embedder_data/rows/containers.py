"""What a file is by its first bytes, whatever its name says, and its content unpacked."""

from __future__ import annotations

import bz2
import io
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

# Enough for every mark below, and for a first record to show itself behind blanks.
_HEAD_BYTES = 1024

# Read of a compressed file at a time, bytes.
_PACKED_BYTES = 1 << 17

# The most that an xz stream may ask for, bytes; xz -9 asks for 65 MiB.
_XZ_BYTES = 1 << 28

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

# The endings of compressed files. Their content says what they are; these only leave the other
# ending to be seen.
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2", ".xz": "xz"}

_PACKED = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bz2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
)
_TABLES = ((b"PAR1", "parquet"), (b"ARROW1", "arrow"))

_UTF_16 = "convert it with: iconv -f {} -t UTF-8"

# First bytes of what is no data file here, what it is, and what to do. UTF-32 comes before UTF-16,
# whose mark begins that of UTF-32.
_STRANGERS = (
    (b"\xff\xfe\x00\x00", "UTF-32 text", _UTF_16.format("UTF-32")),
    (b"\x00\x00\xfe\xff", "UTF-32 text", _UTF_16.format("UTF-32")),
    (b"\xff\xfe", "UTF-16 text", _UTF_16.format("UTF-16")),
    (b"\xfe\xff", "UTF-16 text", _UTF_16.format("UTF-16")),
    (b"PK\x03\x04", "a ZIP archive", "unpack it, and name the files in it"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it, and name the files in it"),
    (b"SQLite format 3\x00", "an SQLite database", "export its table as JSON Lines or Parquet"),
    (b"\x89HDF", "an HDF5 file", "export its rows as JSON Lines or Parquet"),
    (b"Obj\x01", "an Avro file", "convert it to JSON Lines or Parquet"),
    (b"ORC", "an ORC file", "convert it to Parquet"),
    (
        b"version https://git-lfs",
        "a Git LFS pointer: the data itself was not fetched",
        "run: git lfs pull",
    ),
    (b"<!DOCTYPE", "an HTML page", "download the file itself; a login page may have come instead"),
    (b"<html", "an HTML page", "download the file itself; a login page may have come instead"),
)


class Packed(Protocol):
    """One compressed stream, as :class:`bz2.BZ2Decompressor` has it."""

    @property
    def eof(self) -> bool:
        """Whether the stream has ended."""

    @property
    def needs_input(self) -> bool:
        """Whether no more comes out before more goes in."""

    @property
    def unused_data(self) -> bytes:
        """What came behind the end of the stream."""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """More of the content, ``max_length`` bytes at the most."""


def head_of(path: str) -> bytes:
    """The first bytes of a file as they lie on the disk.

    Raises:
        OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        return file.read(_HEAD_BYTES)


def compression_of(head: bytes) -> str | None:
    """The compression that a file's first bytes show: gzip, bz2, xz, zstd, or None."""
    return next((name for mark, name in _PACKED if head.startswith(mark)), None)


def table_of(head: bytes) -> str | None:
    """``parquet`` or ``arrow`` where the first bytes of a file say so."""
    return next((name for mark, name in _TABLES if head.startswith(mark)), None)


def stranger(head: bytes) -> str | None:
    """One sentence on content that is neither JSON nor a table; None where it may be either.

    Args:
        head: the first bytes, unpacked.
    """
    for mark, name, remedy in _STRANGERS:
        if head.startswith(mark):
            return f"it is {name} ({remedy})"
    if head[257:262] == b"ustar":
        return "it is a tar archive (unpack it, and name the files in it)"
    if table_of(head):
        return f"it is a {table_of(head)} file inside another (unpack it)"
    if compression_of(head):
        return f"it is compressed twice, the inner time by {compression_of(head)} (unpack it once)"
    start = head[:4].replace(b"\x00", b"")
    if len(start) < len(head[:4]) and start[:1] in (b"{", b"[") and start == start.strip(b"\x00"):
        code = "UTF-32" if len(start) == 1 else "UTF-16"
        return f"it is {code} text ({_UTF_16.format(code)})"
    return None


def opened(path: str) -> Any:
    """A binary stream of a file's content, unpacked where its first bytes say that it is packed.

    Members of one file follow each other. Behind the last one zeros may stand, as gzip has it, and
    nothing else.

    Raises:
        OSError: the file cannot be read. Reading raises it too, or :class:`EOFError`, where what is
            packed is damaged or ends too early.
    """
    packing = compression_of(head_of(path))
    if packing is None:
        return pa.input_stream(path, compression=None)
    if packing == "zstd":
        return pa.input_stream(path, compression="zstd")
    return io.BufferedReader(_Unpacked(path, packing), _PACKED_BYTES)


def compression_suffix(path: str) -> str:
    """``".gz"`` and the like as the path has it, or the empty string."""
    suffix = Path(path).suffix
    return suffix if suffix.lower() in COMPRESSIONS else ""


# --------------------------------------------------------------------------------------------------


class _Gzip:
    """A member of a gzip file; its checksum and its length are compared."""

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


_MAKERS: dict[str, Callable[[], Packed]] = {
    "gzip": _Gzip,
    "bz2": bz2.BZ2Decompressor,
    "xz": lambda: lzma.LZMADecompressor(memlimit=_XZ_BYTES),
}


class _Unpacked(io.RawIOBase):
    """The content of all members of a compressed file, one after the other."""

    def __init__(self, path: str, packing: str) -> None:
        self._packing = packing
        self._file = open(path, "rb")  # noqa: SIM115 (closed with this stream)
        self._member = _MAKERS[packing]()
        self._read = b""  # of the file, and not yet given to the member

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()

    def readinto(self, into: Any, /) -> int:
        view = memoryview(into).cast("B")
        while len(view):
            if self._member.eof and not self._begin_next():
                break
            if self._member.needs_input and not self._read:
                self._read = self._file.read(_PACKED_BYTES)
                if not self._read:
                    raise EOFError(f"the {self._packing} data was cut off: it ends too early")
            data, self._read = (self._read, b"") if self._member.needs_input else (b"", self._read)
            try:
                content = self._member.decompress(data, len(view))
            except (zlib.error, lzma.LZMAError, OSError, ValueError) as error:
                raise OSError(f"the {self._packing} data is damaged: {error}") from error
            if content:
                view[: len(content)] = content
                return len(content)
        return 0

    def _begin_next(self) -> bool:
        """Begin the member behind one that has ended; False where there is none."""
        rest = (self._member.unused_data + self._read).lstrip(b"\x00")
        while not rest:
            rest = self._file.read(_PACKED_BYTES)
            if not rest:
                return False
            rest = rest.lstrip(b"\x00")
        mark = next(mark for mark, name in _PACKED if name == self._packing)
        rest += self._file.read(max(0, len(mark) - len(rest)))
        if not rest.startswith(mark):
            raise OSError(
                f"behind the {self._packing} data stands something else, {rest[:12]!r} (cut it off)"
            )
        self._member, self._read = _MAKERS[self._packing](), rest
        return True
