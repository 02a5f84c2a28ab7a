"""Opens a file's content as a decompressed stream, and refuses content that holds no rows."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.rows.files.compression import opened
from llm_embedder_data.rows.files.signatures import (
    ARROW_STREAM,
    BYTE_ORDER_MARK,
    compression_of,
    head_of,
    table_of,
    unsupported_content,
)
from llm_embedder_data.rows.files.unreadable_files import unreadable
from llm_embedder_data.rows.files.watched_reads import opened_file

# The first bytes of the content, from which the kind of a file is detected.
HEAD_BYTES = 1 << 18

_BUFFER_BYTES = 1 << 20

_PICKLE = (
    "it is a pickle, which may run any code when it is opened (write its rows as JSON Lines or "
    "Parquet)"
)
_AS_ROWS = "export its rows as JSON Lines, CSV or Parquet"

# (first bytes, what the file is and what to do) of content that holds no rows. The first bytes of
# archives, databases and UTF-16 text are in signatures.py.
_REFUSED: tuple[tuple[bytes, str], ...] = (
    (b"%PDF", f"it is a PDF document ({_AS_ROWS})"),
    (b"\x93NUMPY", f"it is a NumPy array ({_AS_ROWS})"),
    (b"\x89PNG", "it is an image (give files of text)"),
    (b"\xff\xd8\xff", "it is an image (give files of text)"),
    (b"\xd0\xcf\x11\xe0", f"it is an old Office document ({_AS_ROWS})"),
    (b"FEA1", "it is a Feather file of version 1 (write it again with pyarrow.feather)"),
    (b"<?xml", f"it is an XML document ({_AS_ROWS})"),
)
# Pickles of protocol 2 to 5; and of protocol 0, which are text.
_PICKLED = re.compile(rb"\x80[\x02-\x05]|\(lp0\n|\(dp0\n|\(lp1\n|ccopy_reg\n|c__builtin__\n")


def open_content(path: str) -> io.BufferedReader:
    """Open a file's content as a buffered stream, decompressed if its first bytes say so.

    Raises:
        OSError: the file cannot be read. Reading the stream raises it too, or :class:`EOFError`, if
            the compressed data is damaged or ends too early.
    """
    if compression_of(head_of(path)) is None:
        return io.BufferedReader(opened_file(path) or io.FileIO(path), _BUFFER_BYTES)
    return io.BufferedReader(_Stream(opened(path)), _BUFFER_BYTES)


def table_format(path: str) -> str | None:
    """Return ``"parquet"`` or ``"arrow"`` if a file's first bytes show it, else None.

    Unlike :func:`~llm_embedder_data.rows.files.signatures.table_of`, this knows Arrow streams too.

    Raises:
        OSError: the file cannot be read.
    """
    head = head_of(path)
    return "arrow" if head.startswith(ARROW_STREAM) else table_of(head)


def content_head(path: str) -> bytes:
    """Return the first bytes of a file's content, without a byte order mark.

    Raises:
        DataError: the content holds no rows that can be read: it is a pickle, an archive, a web
            page, an image, or text in another encoding than UTF-8.
        OSError, EOFError: the file cannot be read.
    """
    with open_content(path) as file:
        head = file.read(HEAD_BYTES)
    if sentence := refusal(head):
        raise DataError.at(path, sentence)
    return head.removeprefix(BYTE_ORDER_MARK)


def refusal(head: bytes) -> str | None:
    """Return a sentence on content that holds no rows; None if it may hold rows.

    Args:
        head: the first bytes, decompressed.
    """
    if _PICKLED.match(head):
        return _PICKLE
    if sentence := unsupported_content(head):
        return sentence
    for mark, sentence in _REFUSED:
        if head.startswith(mark):
            return sentence
    if b"\x00" in head:
        n_zeros = head.count(b"\x00")
        if n_zeros > len(head) // 4:
            return "it looks like UTF-16 text without a mark (convert it with: iconv -t UTF-8)"
        return f"it holds zero bytes, so it is not text ({_AS_ROWS})"
    return None


def readable(path: str, read: Callable[[], Any]) -> Any:
    """Return what ``read`` returns; an error of the file or its compression becomes a DataError.

    Args:
        path: the file, for the message.
        read: reads from the file.

    Raises:
        DataError: the file is missing, cannot be read, or is damaged.
    """
    try:
        return read()
    except (OSError, EOFError) as error:
        raise unreadable(path, error) from error


def not_utf8(path: str) -> DataError:
    """Return the error to raise for text in another encoding.

    It names the first line that is not UTF-8.

    Raises:
        OSError, EOFError: the file cannot be read.
    """
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
    """Adapts a stream that may lack ``readinto``, which :class:`io.BufferedReader` calls."""

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
