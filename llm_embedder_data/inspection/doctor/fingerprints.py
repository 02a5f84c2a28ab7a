"""64-bit fingerprints of texts: as they are, and normalised."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xxhash
from numpy.typing import NDArray

# What a text of ASCII characters holds if its words are not separated by single blanks.
_UNEVEN = ("  ", "\n", "\t", "\r", "\v", "\f")

_digest = xxhash.xxh3_64_intdigest


def exact(texts: Sequence[str]) -> NDArray[np.uint64]:
    """Fingerprints of texts as they are, ``[n]`` uint64."""
    return np.array([_digest(text.encode("utf-8", "surrogatepass")) for text in texts], np.uint64)


def normalised(texts: Sequence[str]) -> NDArray[np.uint64]:
    """Fingerprints that are equal where only case or white space differs, ``[n]`` uint64."""
    return np.array(
        [_digest(normal_form(text).encode("utf-8", "surrogatepass")) for text in texts], np.uint64
    )


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
