"""Reads the values of JSON files: JSON Lines, an array, or one or several objects."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Literal

import orjson

from llm_embedder_data.rows.files.json_text import parsed, utf8_text
from llm_embedder_data.rows.files.raw_content import open_content
from llm_embedder_data.rows.files.signatures import BYTE_ORDER_MARK
from llm_embedder_data.rows.records.delimited_records import BadRecord

JsonContainer = Literal["lines", "array", "object"]

# The bytes of an array that are read at a time.
_BLOCK_BYTES = 1 << 20

# Larger values (in characters) and documents (in bytes) are decoded part by part.
_LARGE_VALUE = 4 << 20
_LARGE_DOCUMENT = 32 << 20

# The deepest level of nested arrays and objects that are decoded part by part.
_DEEPEST = 4

# In characters. A fault further from the end of the text read so far is a fault of the file; a
# fault nearer to the end may only mean that a value is not read to its end yet.
_CUT = 64

# The first lines, which tell JSON Lines from an object that spans many lines.
_LOOKED_AT = 5

_BLANKS = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()


def json_container(head: bytes, *, is_whole: bool) -> JsonContainer:
    """Detect from its beginning whether a file is JSON Lines, an array, or objects.

    Args:
        head: the first bytes; after white space, they begin with ``{`` or ``[``.
        is_whole: whether they are the whole file.
    """
    lines = [line for line in head.split(b"\n") if line.strip()]
    is_array = lines[0].lstrip().startswith(b"[")
    if not is_whole and len(lines) == 1:  # a long first line
        return "array" if is_array and _begins_with_a_record(head) else "lines"
    try:
        first = loads(lines[0])
    except ValueError:
        others = lines[1 : _LOOKED_AT if lines[0].rstrip().endswith((b"}", b"]", b",")) else 2]
        if any(_is_record(line, b"[" if is_array else b"{") for line in others):
            # Either the first line is broken, or the file is an array with a record per line.
            is_broken = not is_array or not lines[0].rstrip().endswith((b"[", b","))
            return "lines" if is_broken else "array"
        return "array" if is_array else "object"
    if isinstance(first, list) and len(lines) == 1:
        is_of_records = all(isinstance(entry, dict | list) for entry in first)
        return "array" if is_of_records else "lines"
    return "lines"


def loads(content: bytes | memoryview) -> Any:
    """Return the value of a JSON text in UTF-8; NaN and Infinity are accepted too.

    Raises:
        ValueError: it is not JSON, not UTF-8, or nested too deep.
    """
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        try:
            return parsed(utf8_text(content))
        except RecursionError:
            raise ValueError("it is nested too deep") from None


def line_values(path: str) -> Iterator[tuple[int, Any]]:
    """Yield (line, value) of each line that is not blank; a line is counted from 1.

    The value of a line that is not JSON is a :class:`BadRecord`.

    Raises:
        OSError, EOFError: the file cannot be read.
    """
    parse = orjson.loads
    with open_content(path) as file:
        for number, line in enumerate(file, 1):
            try:
                yield number, parse(line)
            except orjson.JSONDecodeError:
                if number == 1:
                    line = line.removeprefix(BYTE_ORDER_MARK)
                if not line.strip():
                    continue
                try:
                    yield number, loads(line)
                except ValueError as error:
                    yield number, BadRecord(f"not JSON: {error}", line)


def object_values(path: str) -> Iterator[Any]:
    """Yield the value of a file; or several values in a row, as ``jq`` writes them.

    A large document is decoded part by part, so that its text is never in memory as a whole.

    Raises:
        ValueError: the file is not JSON.
        OSError, EOFError: the file cannot be read.
    """
    with open_content(path) as file:
        content = file.read(_LARGE_DOCUMENT + 1)
    value = None
    is_read = False
    if len(content) <= _LARGE_DOCUMENT:
        with suppress(orjson.JSONDecodeError):
            value, is_read = orjson.loads(content), True
    del content
    if is_read:
        yield value
    else:
        yield from _streamed(path, is_array=False)


def has_large_line(path: str) -> bool:
    """Return whether the first line of a file is a large document.

    Raises:
        OSError, EOFError: the file cannot be read.
    """
    n_bytes = 0
    with open_content(path) as file:
        while n_bytes <= _LARGE_DOCUMENT and (block := file.read(_BLOCK_BYTES)):
            if b"\n" in block:
                return False
            n_bytes += len(block)
    return n_bytes > _LARGE_DOCUMENT


def array_values(path: str) -> Iterator[Any]:
    """Yield the elements of a JSON array; the file is never in memory as a whole.

    Raises:
        ValueError: the file is not a JSON array in UTF-8.
        OSError, EOFError: the file cannot be read.
    """
    return _streamed(path, is_array=True)


def _is_record(line: bytes, opening: bytes) -> bool:
    line = line.strip()
    if not line.startswith(opening):
        return False
    try:
        loads(line)
    except ValueError:
        return False
    return True


def _begins_with_a_record(head: bytes) -> bool:
    """Return whether an array's first element is an object or array, so that it can be a record."""
    return head.lstrip()[1:].lstrip()[:1] in (b"{", b"[")


def _streamed(path: str, *, is_array: bool) -> Iterator[Any]:
    """Yield the elements of an array, or the values of a file that holds several in a row."""
    with open_content(path) as file:
        text = _Text(file)
        if is_array:
            text.skip("[")
            if text.next_mark() == "]":
                text.skip("]")
                text.require_end(0)
                return
        row = 0
        while text.next_mark():
            yield text.value(row)
            row += 1
            if is_array:
                mark = text.next_mark()
                if mark == "]":
                    text.skip("]")
                    text.require_end(row)
                    return
                if mark != ",":
                    what = f"{mark!r} stands" if mark else "the file ends"
                    raise ValueError(f"{what} after row {row - 1}, where ',' or ']' is needed")
                text.skip(",")
        if is_array:
            raise ValueError(f"the file ends after row {row - 1}, where ']' is needed")


class _Text:
    """The text of a file, read in parts; text that was decoded is dropped from memory."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._text = ""
        self._position = 0
        self._is_at_end = False

    def next_mark(self) -> str:
        """Return the next character after white space, without consuming it; "" at the end."""
        while True:
            self._position = _BLANKS.match(self._text, self._position).end()  # type: ignore[union-attr]
            if self._position < len(self._text) or not self._read(_BLOCK_BYTES):
                return self._text[self._position : self._position + 1]

    def skip(self, mark: str) -> None:
        """Consume the next character if it is ``mark``."""
        if self.next_mark() == mark:
            self._position += 1

    def value(self, row: int, depth: int = 0) -> Any:
        """Consume and return the next value.

        Args:
            row: the number of the record, for messages.
            depth: the number of arrays and objects around the value.

        Raises:
            ValueError: it is not JSON, or nested too deep.
        """
        more = _BLOCK_BYTES
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._position)
            except RecursionError:
                raise ValueError(f"row {row} is nested too deep") from None
            except ValueError as error:  # perhaps the value is not read to its end yet
                n_left = len(self._text) - self._position
                if n_left > _LARGE_VALUE and depth < _DEEPEST and self.next_mark() in ("[", "{"):
                    return self._parts(row, depth)
                if self._is_certain(error) or not self._read(more):
                    raise ValueError(f"row {row}: {error}") from None
                more *= 2
                continue
            # A number at the end of the text read so far may continue.
            is_number = not isinstance(value, dict | list | str)
            if is_number and end == len(self._text) and self._read(more):
                continue
            self._position = end
            return value

    def _parts(self, row: int, depth: int) -> Any:
        """Consume and return a large array or object, decoded part by part."""
        opening = self.next_mark()
        self.skip(opening)
        closing = "]" if opening == "[" else "}"
        array: list[Any] = []
        members: dict[str, Any] = {}
        if self.next_mark() == closing:
            self.skip(closing)
            return array if opening == "[" else members
        while True:
            self.next_mark()
            value = self.value(row, depth + 1)
            if opening == "[":
                array.append(value)
            else:
                if not isinstance(value, str) or self.next_mark() != ":":
                    raise ValueError(f"row {row}: a name and ':' are needed in an object")
                self.skip(":")
                self.next_mark()
                members[value] = self.value(row, depth + 1)
            mark = self.next_mark()
            self.skip(mark)
            if mark == closing:
                return array if opening == "[" else members
            if mark != ",":
                what = f"{mark!r} stands" if mark else "the file ends"
                raise ValueError(f"row {row}: {what} where ',' or {closing!r} is needed")

    def _is_certain(self, error: ValueError) -> bool:
        """Return whether an error is a fault of the file, and not of text that is still unread."""
        return (
            isinstance(error, json.JSONDecodeError)
            and not error.msg.startswith("Unterminated")
            and error.pos < len(self._text) - _CUT
        )

    def require_end(self, n_rows: int) -> None:
        """Check that only white space is left.

        Raises:
            ValueError: something else is left.
        """
        if self.next_mark():
            rest = self._text[self._position : self._position + 20]
            raise ValueError(f"something else follows the array of {n_rows} rows: {rest!r}")

    def _read(self, n_bytes: int) -> bool:
        """Drop the decoded text and read more; return False at the end of the file."""
        while not self._is_at_end:
            content = self._file.read(n_bytes)
            self._is_at_end = not content
            more = self._decoder.decode(content, final=not content)
            if more:
                if "\x00" in more:
                    raise ValueError("it holds zero bytes, as UTF-16 text does")
                self._text, self._position = self._text[self._position :] + more, 0
                return True
        return False
