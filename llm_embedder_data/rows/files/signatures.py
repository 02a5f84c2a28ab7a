"""Tells what a file is from its first bytes, whatever its name says."""

from __future__ import annotations

import re

# Enough for all signatures below.
_HEAD_BYTES = 1024

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

# (first bytes, name) of compressed files; of tables below.
COMPRESSION_SIGNATURES = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bz2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
)
_TABLE_SIGNATURES = ((b"PAR1", "parquet"), (b"ARROW1", "arrow"))

# The first bytes of an Arrow stream, which has no signature, and the bytes that end it.
ARROW_STREAM = b"\xff\xff\xff\xff"
ARROW_STREAM_END = ARROW_STREAM + b"\x00\x00\x00\x00"

_HTML = re.compile(rb"\s*<(!doctype|html|head|body)\b", re.IGNORECASE)

_CONVERT = "convert it with: iconv -f {} -t UTF-8"

# (first bytes, what the file is, what to do) of files that cannot be read. UTF-32 comes before
# UTF-16, because its little-endian byte order mark begins with that of UTF-16.
_UNSUPPORTED = (
    (b"\xff\xfe\x00\x00", "UTF-32 text", _CONVERT.format("UTF-32")),
    (b"\x00\x00\xfe\xff", "UTF-32 text", _CONVERT.format("UTF-32")),
    (b"\xff\xfe", "UTF-16 text", _CONVERT.format("UTF-16")),
    (b"\xfe\xff", "UTF-16 text", _CONVERT.format("UTF-16")),
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
)


def head_of(path: str) -> bytes:
    """Return the first bytes of a file as they are on the disk, still compressed.

    Raises:
        OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        return file.read(_HEAD_BYTES)


def compression_of(head: bytes) -> str | None:
    """Return the compression that a file's first bytes show: gzip, bz2, xz, zstd or None."""
    return next((name for mark, name in COMPRESSION_SIGNATURES if head.startswith(mark)), None)


def table_of(head: bytes) -> str | None:
    """Return ``"parquet"`` or ``"arrow"`` if a file's first bytes show it, else None."""
    return next((name for mark, name in _TABLE_SIGNATURES if head.startswith(mark)), None)


def unsupported_content(head: bytes) -> str | None:
    """Return a sentence on content that can be neither JSON nor a table; None if it can.

    Args:
        head: the first bytes, decompressed.
    """
    for mark, name, remedy in _UNSUPPORTED:
        if head.startswith(mark):
            return f"it is {name} ({remedy})"
    if _HTML.match(head.removeprefix(BYTE_ORDER_MARK)):
        return "it is an HTML page (download the file itself; a login page may have come instead)"
    if head[257:262] == b"ustar":
        return "it is a tar archive (unpack it, and name the files in it)"
    if table_of(head):
        return f"it is a {table_of(head)} file inside another (unpack it)"
    if compression_of(head):
        return f"it is compressed twice, the inner time by {compression_of(head)} (unpack it once)"
    start = head[:4].replace(b"\x00", b"")
    if len(start) < len(head[:4]) and start[:1] in (b"{", b"[") and start == start.strip(b"\x00"):
        encoding = "UTF-32" if len(start) == 1 else "UTF-16"
        return f"it is {encoding} text ({_CONVERT.format(encoding)})"
    return None
