"""Texts without what does not tell them apart: case, and white space between words."""

from __future__ import annotations

# What a text of ASCII characters holds if its words are not separated by single blanks.
_UNEVEN = ("  ", "\n", "\t", "\r", "\v", "\f")


def normal_form(text: str) -> str:
    """A text in lower case with single blanks.

    >>> normal_form("  The Cat\\n sat ")
    'the cat sat'
    """
    if not text.isascii():
        return " ".join(text.casefold().split())
    text = text.lower()
    if text[:1] == " " or text[-1:] == " " or any(mark in text for mark in _UNEVEN):
        return " ".join(text.split())
    return text
