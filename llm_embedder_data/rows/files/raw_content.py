"""The content of a file as a stream of bytes, unpacked, and content that nobody should read."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.rows.files.compression import opened
from llm_embedder_data.rows.files.signatures import (
    BYTE_ORDER_MARK,
    compression_of,
    head_of,
    table_of,
    unsupported_content,
)
from llm_embedder_data.rows.files.watched_reads import opened_file

# Looked at to know a container, bytes.
HEAD_BYTES = 1 << 18

_BUFFER_BYTES = 1 << 20

# A stream of Arrow record batches begins with this mark, and a file of them with a name.
_ARROW_STREAM = b"\xff\xff\xff\xff"

_PICKLE = (
    "it is a pickle, which may run any code when it is opened (write its rows as JSON Lines or "
    "Parquet)"
)
_AS_ROWS = "export its rows as JSON Lines, CSV or Parquet"

# First bytes of content that holds no rows, and what it is with a remedy. The marks of archives,
# databases and UTF-16 are in containers.py.
_REFUSED: tuple[tuple[bytes, str], ...] = (
    (b"%PDF", f"it is a PDF document ({_AS_ROWS})"),
    (b"\x93NUMPY", f"it is a NumPy array ({_AS_ROWS})"),
    (b"\x89PNG", "it is an image (give files of text)"),
    (b"\xff\xd8\xff", "it is an image (give files of text)"),
    (b"\xd0\xcf\x11\xe0", f"it is an old Office document ({_AS_ROWS})"),
    (b"FEA1", "it is a Feather file of version 1 (write it anew with pyarrow.feather)"),
    (b"<?xml", f"it is an XML document ({_AS_ROWS})"),
)
# Pickles of protocol 2 and later; those of 0 are text.
_PICKLED = re.compile(rb"\x80[\x02-\x05]|\(lp0\n|\(dp0\n|\(lp1\n|ccopy_reg\n|c__builtin__\n")
_HTML = re.compile(rb"\s*<(!doctype\s+html|html|head|body)\b", re.IGNORECASE)


def open_content(path: str) -> io.BufferedReader:
    """Open a file's content as a buffered stream, unpacked whatever the file's name says.

    Raises:
        OSError: the file cannot be read. Reading raises it too, or :class:`EOFError`, where the
            compressed data is damaged or cut off.
    """
    if compression_of(head_of(path)) is None:
        return io.BufferedReader(opened_file(path) or io.FileIO(path), _BUFFER_BYTES)
    return io.BufferedReader(_Stream(opened(path)), _BUFFER_BYTES)


def table_format(path: str) -> str | None:
    """``parquet`` or ``arrow`` where a file is a table; None for other files.

    Raises:
        OSError: the file cannot be read.
    """
    head = head_of(path)
    return "arrow" if head.startswith(_ARROW_STREAM) else table_of(head)


def content_head(path: str) -> bytes:
    """Return the first bytes of a file's content, without byte order mark.

    Raises:
        DataError: the content holds no rows: a pickle, an archive, a page, an image, text of
            another encoding.
        OSError, EOFError: the file cannot be read.
    """
    with open_content(path) as file:
        head = file.read(HEAD_BYTES)
    if sentence := refusal(head):
        raise DataError.at(path, sentence)
    return head.removeprefix(BYTE_ORDER_MARK)


def refusal(head: bytes) -> str | None:
    """One sentence on content that holds no rows; None where it may hold some."""
    if _PICKLED.match(head):
        return _PICKLE
    if sentence := unsupported_content(head):
        return sentence
    for mark, sentence in _REFUSED:
        if head.startswith(mark):
            return sentence
    if _HTML.match(head.removeprefix(BYTE_ORDER_MARK)):
        return "it is an HTML page (download the file itself; a login page may have come instead)"
    if b"\x00" in head:
        n_zeros = head.count(b"\x00")
        if n_zeros > len(head) // 4:
            return "it looks like UTF-16 text without a mark (convert it with: iconv -t UTF-8)"
        return f"it holds zero bytes, and is no text ({_AS_ROWS})"
    return None


def readable(path: str, read: Callable[[], Any]) -> Any:
    """Call ``read``; an error of the file or its compression becomes a DataError.

    Raises:
        DataError: the file is not there, cannot be read, or is damaged.
    """
    try:
        return read()
    except (OSError, EOFError) as error:
        raise unreadable(path, error) from error


def unreadable(path: str, error: Exception) -> DataError:
    """The error of a file that cannot be read."""
    if isinstance(error, FileNotFoundError):
        return DataError.at(path, "there is no such file (mend the path)")
    if isinstance(error, OSError) and error.errno is not None and error.strerror:
        return DataError.at(path, f"cannot be read: {error.strerror} (mend the path)")
    return DataError.at(path, f"cannot be read: {error} (is it whole?)")


def not_utf8(path: str) -> DataError:
    """The error of text in another encoding; it names the first line that is not UTF-8."""
    line = 0
    with open_content(path) as file:
        for line, content in enumerate(file, 1):
            try:
                content.decode()
            except UnicodeDecodeError as error:
                return DataError.at(
                    path,
                    f"line {line} is not UTF-8 text, byte {content[error.start]:#04x} (convert the "
                    "file, as with: iconv -f LATIN1 -t UTF-8)",
                    line=None,
                )
    return DataError.at(path, "it is not UTF-8 text (convert it with iconv)")


class _Stream(io.RawIOBase):
    """A binary stream of another library, as the standard library's buffers want it."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any, /) -> int:
        content = self._file.read(len(into))
        into[: len(content)] = content
        return len(content)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()
