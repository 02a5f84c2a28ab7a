"""JSON as Python's parser reads it, with integers of any length, and of one encoding: UTF-8."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

# Python refuses to make longer ones of decimal text, or text of them, at its strictest setting.
_MOST_DIGITS = 600

# Read of an array at a time, characters.
_BLOCK = 4 << 20

_BLANKS = re.compile(r"[ \t\n\r]*")
_TOKENS = re.compile(r'"(?:[^"\\]++|\\.)*+"|[\[\]{}]', re.DOTALL)


@dataclass(frozen=True, slots=True, repr=False)
class LongInteger:
    """An integer of hundreds of digits, which Python would take quadratic time for.

    Attributes:
        digits: its decimal text, with the sign of a negative one.
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
    """The text of some bytes.

    Raises:
        ValueError: they are no UTF-8, or are text of another encoding all the same.
    """
    try:
        text = str(content, "utf-8")
    except UnicodeDecodeError as error:
        start = bytes(content[:64])
        looks = ": it looks like UTF-16" if start.count(b"\x00") > len(start) // 4 else ""
        raise ValueError(
            f"it is not UTF-8 text, byte {content[error.start]:#04x} at place {error.start}{looks}"
        ) from None
    if "\x00" in text:
        raise ValueError("it holds zero bytes, as UTF-16 and UTF-32 text does, and UTF-8 is needed")
    return text


def parsed(text: str) -> Any:
    """The value of a JSON text; integers of hundreds of digits are :class:`LongInteger`.

    Raises:
        json.JSONDecodeError: it is no JSON.
        RecursionError: it is nested deeper than Python's stack.
    """
    return _DECODER.decode(text)


def array_blocks(content: bytes) -> Iterator[list[Any]]:
    """The elements of a JSON array, some thousand at a time.

    An element that is nested too deep for Python is its own JSON text, in bytes.

    Raises:
        ValueError: the content is no UTF-8, or no array; the row at which it ends is named.
    """
    text = utf8_text(content)
    del content
    row, block, start = 0, [], 0
    place = _BLANKS.match(text, _BLANKS.match(text).end() + 1).end()  # type: ignore[union-attr]
    if text[place : place + 1] == "]":
        _require_end(text, place + 1)
        return
    while True:
        try:
            element, place = _DECODER.raw_decode(text, place)
        except RecursionError:
            end = _end_of_value(text, place)
            element, place = text[place:end].encode(), end
        except json.JSONDecodeError as error:
            raise ValueError(f"row {row}: {error}") from None
        block.append(element)
        place = _BLANKS.match(text, place).end()  # type: ignore[union-attr]
        mark = text[place : place + 1]
        if mark == "]":
            _require_end(text, place + 1)
            yield block
            return
        if mark != ",":
            what = f"{mark!r} stands" if mark else "the file ends"
            raise ValueError(f"{what} behind row {row}, where ',' or ']' is needed")
        place = _BLANKS.match(text, place + 1).end()  # type: ignore[union-attr]
        row += 1
        if place - start > _BLOCK:
            yield block
            block, start = [], place


def first_elements(head: bytes, most: int) -> list[Any]:
    """The first elements of a JSON array, as many as its first bytes hold whole."""
    text = str(head, "utf-8", "ignore").removeprefix("\ufeff")
    place = text.find("[") + 1
    found: list[Any] = []
    while len(found) < most:
        place = _BLANKS.match(text, place).end()  # type: ignore[union-attr]
        try:
            element, place = _DECODER.raw_decode(text, place)
        except (json.JSONDecodeError, RecursionError):
            break
        found.append(element)
        place = _BLANKS.match(text, place).end()  # type: ignore[union-attr]
        if text[place : place + 1] != ",":
            break
        place += 1
    return found


def _require_end(text: str, place: int) -> None:
    place = _BLANKS.match(text, place).end()  # type: ignore[union-attr]
    if text[place : place + 1] == "[":
        raise ValueError(
            "each line is a JSON array, and a row is an object with names: write pairs as "
            '{"query": "...", "pos": ["..."]}, triplets with "neg" beside'
        )
    if place < len(text):
        raise ValueError(f"something else stands behind the array: {text[place : place + 20]!r}")


def _end_of_value(text: str, place: int) -> int:
    """Behind an array or object of any depth; the text's end where it is broken."""
    depth = 0
    for token in _TOKENS.finditer(text, place):
        mark = token.group()
        depth += (mark in "[{") - (mark in "]}")
        if depth <= 0:
            return token.end()
    return len(text)
