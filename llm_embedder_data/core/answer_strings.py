"""Whether a passage contains an answer, by the rule of LLM-Embedder's accuracy on NQ."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import regex  # type: ignore[import-untyped]

# DPR's SimpleTokenizer (facebookresearch/DPR, dpr/utils/tokenizers.py).
_WORD = regex.compile(r"[\p{L}\p{N}\p{M}]+|[^\p{Z}\p{C}]")
_ASCII_WORD = re.compile(r"[a-z0-9]+|[!-~]")


def words_of(text: str) -> list[str]:
    """Return the words of a text, decomposed (NFD) and in lower case.

    A word is a run of letters, digits and marks, or any other single visible character. This is
    DrQA's tokenizer, with which dense retrieval papers compute their accuracy.

    >>> words_of("The year's 2nd")
    ['the', 'year', "'", 's', '2nd']
    """
    if text.isascii():
        return _ASCII_WORD.findall(text.lower())
    return [word.lower() for word in _WORD.findall(unicodedata.normalize("NFD", text))]


def holds_answer(text: str, answers: Sequence[Sequence[str]]) -> bool:
    """Return whether a text contains all words of an answer, one right after another.

    Args:
        text: the text of a passage.
        answers: the words of each answer, from :func:`words_of`.

    >>> holds_answer("It lies in New York.", [words_of("york"), words_of("paris")])
    True
    >>> holds_answer("Yorkshire", [words_of("york")])
    False
    """
    words = words_of(text)
    joined = " ".join(["", *words, ""])
    return any(" ".join(["", *answer, ""]) in joined for answer in answers if answer)
