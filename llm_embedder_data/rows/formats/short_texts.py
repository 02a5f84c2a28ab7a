"""Whether texts are too short for passages, as the answers of question answering are."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median
from typing import Any

# The median "positive" of fewer words looks like an answer, and like no passage.
FEWEST_WORDS = 5

# Scripts without blanks between words begin here (Thai to Hangul); two signs count as a word.
_WITHOUT_BLANKS = "\u0e00"


def n_words(text: str) -> int:
    """About how many words a text has, in any script."""
    without_blanks = sum(sign >= _WITHOUT_BLANKS and sign.isalpha() for sign in text)
    if 2 * without_blanks > len(text):
        return (without_blanks + 1) // 2
    return len(text.split())


def are_short(values: Iterable[Any]) -> bool:
    """Whether the median text has under 5 words; a list stands for its first text."""
    texts = [value[0] if isinstance(value, list) and value else value for value in values]
    words = [n_words(text) for text in texts if isinstance(text, str)]
    return bool(words) and median(words) < FEWEST_WORDS
