"""Texts of candidates that carry the document ids from their rows.

Batches do not need these ids, so cached rows do not hold them. A reader only keeps them on request;
the command ``mine`` makes that request.
"""

from __future__ import annotations

from typing import Any


class IdentifiedText(str):
    """A document's text as a string that carries the document's id.

    Attributes:
        id: the id; integers are decimal text.
    """

    __slots__ = ("id",)
    id: str


def with_id(text: str, id: Any) -> str:
    """Return a text that carries an id; or the unchanged text, if a corpus cannot have such an id.

    Args:
        text: the text of a document.
        id: the value that the row gives as the document's id. An integer becomes its decimal text.
    """
    if isinstance(id, float) and id.is_integer():  # pandas turns integers to floats if some miss
        id = int(id)
    if isinstance(id, bool) or not isinstance(id, str | int):
        return text
    found = IdentifiedText(text)
    try:
        found.id = f"{id}"
        found.id.encode()
    except ValueError:  # more digits than Python converts, or a lone surrogate
        return text
    return found


def id_of_text(text: str) -> str | None:
    """Return the id that a text carries, or None."""
    return text.id if isinstance(text, IdentifiedText) else None
