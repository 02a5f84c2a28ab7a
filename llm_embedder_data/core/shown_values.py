"""Shows values in messages: always short and quickly made, whatever the values are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_MOST_BITS = 1000  # of an integer whose digits are shown; Python may refuse to write longer ones


def shown(value: Any, most: int = 80) -> str:
    """Return the ``repr`` of a value, cut to a number of characters.

    Lists and dicts are written only as far as they are shown, so a list that is long, deep, or
    contains itself takes no more time than a short one.

    Args:
        value: any value; its ``repr`` may raise an error.
        most: the maximum number of characters.
    """
    text = ""
    for part in _parts_of_repr(value, most):
        text += part
        if len(text) > most:
            return f"{text[: most - 3]}..."
    return text


def _parts_of_repr(value: Any, most: int) -> Iterator[str]:
    """Yield the ``repr`` of a value in parts; only the first ``most`` characters must be right."""
    if type(value) in (str, bytes):
        yield repr(value[:most])
        if len(value) > most:
            yield "..."
    elif type(value) is int and value.bit_length() > _MOST_BITS:
        yield "an integer of hundreds of digits"
    elif type(value) in (list, tuple, dict):
        yield from _parts_of_container(value, most)
    else:
        try:
            yield repr(value)
        except Exception:  # the repr of a user's object may fail
            yield f"an object of {type(value).__name__}"


def _parts_of_container(value: Any, most: int) -> Iterator[str]:
    brackets = "{}" if type(value) is dict else "()" if type(value) is tuple else "[]"
    yield brackets[0]
    for number, entry in enumerate(value):
        if number:
            yield ", "
        yield from _parts_of_repr(entry, most)
        if type(value) is dict:
            yield ": "
            yield from _parts_of_repr(value[entry], most)
    if type(value) is tuple and len(value) == 1:
        yield ","
    yield brackets[1]
