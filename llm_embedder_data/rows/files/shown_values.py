"""Shows the values of a file in messages: always short, whatever the values are."""

from __future__ import annotations

from typing import Any

from llm_embedder_data.rows.files.json_text import LongInteger

_MOST_CHARACTERS = 80
_MOST_DEPTH = 4
_MOST_ENTRIES = 20  # of a list or dict


def shown(value: Any) -> str:
    """Return the ``repr`` of a value, shortened to 80 characters."""
    text = _shown(value, _MOST_DEPTH)
    return text if len(text) <= _MOST_CHARACTERS else f"{text[: _MOST_CHARACTERS - 3]}..."


def _shown(value: Any, depth: int) -> str:
    if isinstance(value, str | bytes):
        start = value[:_MOST_CHARACTERS]
        return repr(start) if len(value) <= _MOST_CHARACTERS else f"{start!r}..."
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 1000:
        return "an integer of hundreds of digits"
    if type(value) in (list, tuple, dict):
        return _shown_container(value, depth)
    if value is None or isinstance(value, bool | int | float | LongInteger):
        return repr(value)
    try:
        return repr(value)[: 2 * _MOST_CHARACTERS]
    except Exception:  # the repr of a user's object may fail
        return f"an object of {type(value).__name__}"


def _shown_container(value: Any, depth: int) -> str:
    is_dict = type(value) is dict
    opening, closing = "{}" if is_dict else "[]"
    if value and not depth:
        return f"{opening}...{closing}"
    parts: list[str] = []
    for entry in value:
        part = _shown(entry, depth - 1)
        parts.append(f"{part}: {_shown(value[entry], depth - 1)}" if is_dict else part)
        if len(parts) == _MOST_ENTRIES:
            parts.append("...")
            break
    return f"{opening}{', '.join(parts)}{closing}"
