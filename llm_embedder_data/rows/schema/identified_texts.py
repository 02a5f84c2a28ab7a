"""Texts of candidates that know the ids which their rows give them.

Rows are cached without these ids, which no batch needs. Only a reader that is asked for them, as
``mine`` asks, keeps them with the texts.
"""

from __future__ import annotations

from typing import Any


class IdentifiedText(str):
    """The text of a document, which knows the document's id."""

    __slots__ = ("id",)
    id: str


def with_id(text: str, own_id: Any) -> str:
    """Return a text that knows its id; the text as it is if the id is none that a corpus can have.

    Args:
        text: of a document.
        own_id: what its row gives as its id. An integer becomes its decimal text.
    """
    if isinstance(own_id, float) and own_id.is_integer():  # of a table with missing integers
        own_id = int(own_id)
    if isinstance(own_id, bool) or not isinstance(own_id, str | int):
        return text
    found = IdentifiedText(text)
    try:
        found.id = f"{own_id}"
        found.id.encode()
    except ValueError:  # thousands of digits, or half of a character
        return text
    return found


def id_of_text(text: str) -> str | None:
    """Return the id that a text knows; None if it knows none."""
    return text.id if isinstance(text, IdentifiedText) else None
