"""Whether texts are so short that they are answers to questions rather than passages."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median
from typing import Any

# If the median text has fewer words, the texts look like answers.
FEWEST_WORDS = 5

# The first character of the scripts (Thai to Hangul) that put no blanks between words.
_WITHOUT_BLANKS = "\u0e00"


def n_words(text: str) -> int:
    """Return about how many words a text has; in a script without blanks, two letters make one."""
    without_blanks = sum(character >= _WITHOUT_BLANKS and character.isalpha() for character in text)
    if 2 * without_blanks > len(text):
        return (without_blanks + 1) // 2
    return len(text.split())


def are_short(values: Iterable[Any]) -> bool:
    """Return whether the median text has under 5 words.

    Args:
        values: texts, or lists of texts, of which only the first counts; other values are ignored.
    """
    texts = [value[0] if isinstance(value, list) and value else value for value in values]
    words = [n_words(text) for text in texts if isinstance(text, str)]
    return bool(words) and median(words) < FEWEST_WORDS
