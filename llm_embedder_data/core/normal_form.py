"""Texts without what does not tell them apart: case, and white space between words."""

from __future__ import annotations


def normal_form(text: str) -> str:
    """A text in lower case with single blanks.

    >>> normal_form("  The Cat\\n sat ")
    'the cat sat'
    """
    if not text.isascii():
        return " ".join(text.casefold().split())
    text = text.lower()
    # All white space but the blank is unprintable. These searches take a third of a split's time.
    if "  " in text or text[:1] == " " or text[-1:] == " " or not text.isprintable():
        return " ".join(text.split())
    return text
