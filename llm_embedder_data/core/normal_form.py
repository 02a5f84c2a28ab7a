"""A normal form of texts, equal for texts that differ only in case and white space."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import xxhash
from numpy.typing import NDArray


def normal_form(text: str) -> str:
    """Return a text in lower case, with single spaces between words.

    >>> normal_form("  The Cat\\n sat ")
    'the cat sat'
    """
    if not text.isascii():
        return " ".join(text.casefold().split())
    text = text.lower()
    # Split only if necessary: these searches take a third of the time. They find all white space,
    # because in ASCII all of it except the space is unprintable.
    if "  " in text or text[:1] == " " or text[-1:] == " " or not text.isprintable():
        return " ".join(text.split())
    return text


def form_hashes(texts: Iterable[str]) -> NDArray[np.uint64]:
    """Return a 64-bit hash of the normal form of each text, ``[n]`` uint64."""
    forms = (normal_form(text).encode("utf-8", "surrogatepass") for text in texts)
    digests = [xxhash.xxh3_64_intdigest(form) for form in forms]
    return np.array(digests, np.uint64)
