"""Parses JSON texts with Python's parser, with integers of any length; only accepts UTF-8."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

# Python can be configured to refuse integers with more digits than a limit, and the lowest limit
# that it allows is 640 digits. Integers up to this length can always be converted.
_MOST_DIGITS = 600

_BLOCK_CHARACTERS = 4 << 20  # of a JSON array, after which a block of its elements ends

_BLANKS = re.compile(r"[ \t\n\r]*")
_TOKENS = re.compile(r'"(?:[^"\\]++|\\.)*+"|[\[\]{}]', re.DOTALL)


@dataclass(frozen=True, slots=True, repr=False)
class LongInteger:
    """An integer of hundreds of digits, kept as text: converting it takes quadratic time.

    Attributes:
        digits: the decimal text, with a minus sign if it is negative.
    """

    digits: str

    def __repr__(self) -> str:
        if len(self.digits) < 20:
            return self.digits
        return f"{self.digits[:8]}... ({len(self.digits.lstrip('-')):,} digits)"


def _integer(digits: str) -> int | LongInteger:
    return int(digits) if len(digits) <= _MOST_DIGITS else LongInteger(digits)


_DECODER = json.JSONDecoder(parse_int=_integer)


def utf8_text(content: bytes | memoryview) -> str:
    """Decode UTF-8.

    Raises:
        ValueError: the bytes are not UTF-8, or contain zero bytes, as UTF-16 and UTF-32 do.
    """
    try:
        text = str(content, "utf-8")
    except UnicodeDecodeError as error:
        start = bytes(content[:64])
        looks_like_utf_16 = start.count(b"\x00") > len(start) // 4
        raise ValueError(
            f"it is not UTF-8 text: byte {content[error.start]:#04x} at position {error.start}"
            + (" (it looks like UTF-16)" if looks_like_utf_16 else "")
        ) from None
    if "\x00" in text:
        raise ValueError("it contains zero bytes, like UTF-16 and UTF-32 text; UTF-8 is needed")
    return text


def parsed(text: str) -> Any:
    """Parse a JSON text; integers of hundreds of digits become :class:`LongInteger`.

    Raises:
        json.JSONDecodeError: it is not JSON.
        RecursionError: it is nested too deep for Python's stack.
    """
    return _DECODER.decode(text)


def array_blocks(content: bytes) -> Iterator[list[Any]]:
    """Yield the elements of a JSON array in lists, each from about 4 million characters.

    An element that is nested too deep for Python's parser is its JSON text, in bytes.

    Raises:
        ValueError: the content is not UTF-8, or not a sound array. The message names the row.
    """
    text = utf8_text(content)
    del content
    row, block, start = 0, [], 0
    position = _skip_blanks(text, _skip_blanks(text, 0) + 1)  # after the opening bracket
    if text[position : position + 1] == "]":
        _require_end(text, position + 1)
        return
    while True:
        element, position = _element(text, position, row)
        block.append(element)
        position = _skip_blanks(text, position)
        mark = text[position : position + 1]
        if mark == "]":
            _require_end(text, position + 1)
            yield block
            return
        if mark != ",":
            found = f"{mark!r} follows" if mark else "the file ends after"
            raise ValueError(f"{found} row {row}, but ',' or ']' is needed")
        position = _skip_blanks(text, position + 1)
        row += 1
        if position - start > _BLOCK_CHARACTERS:
            yield block
            block, start = [], position


def first_elements(head: bytes, most: int) -> list[Any]:
    """Return up to ``most`` elements of a JSON array from the first bytes of its text.

    The elements end where the bytes end or are not sound JSON.
    """
    text = str(head, "utf-8", "ignore").removeprefix("\ufeff")
    position = text.find("[") + 1
    elements: list[Any] = []
    while len(elements) < most:
        position = _skip_blanks(text, position)
        try:
            element, position = _DECODER.raw_decode(text, position)
        except (json.JSONDecodeError, RecursionError):
            break
        elements.append(element)
        position = _skip_blanks(text, position)
        if text[position : position + 1] != ",":
            break
        position += 1
    return elements


# --------------------------------------------------------------------------------------------------


def _skip_blanks(text: str, position: int) -> int:
    return _BLANKS.match(text, position).end()  # type: ignore[union-attr]


def _element(text: str, position: int, row: int) -> tuple[Any, int]:
    """Return the array element at a position, and the position after it.

    Raises:
        ValueError: the element is not JSON.
    """
    try:
        return _DECODER.raw_decode(text, position)
    except RecursionError:
        end = _end_of_value(text, position)
        return text[position:end].encode(), end
    except json.JSONDecodeError as error:
        raise ValueError(f"row {row}: {error}") from None


def _require_end(text: str, position: int) -> None:
    """Check that only white space follows the array.

    Raises:
        ValueError: something else follows.
    """
    position = _skip_blanks(text, position)
    if text[position : position + 1] == "[":
        raise ValueError(
            "each line is a JSON array, but a row must be an object with names: write pairs as "
            '{"query": "...", "pos": ["..."]}, triplets with "neg" as well'
        )
    if position < len(text):
        raise ValueError(f"something else follows the array: {text[position : position + 20]!r}")


def _end_of_value(text: str, position: int) -> int:
    """Return where an array or object of any depth ends; the end of the text if it does not."""
    depth = 0
    for token in _TOKENS.finditer(text, position):
        mark = token.group()
        depth += (mark in "[{") - (mark in "]}")
        if depth <= 0:
            return token.end()
    return len(text)
