"""Top-k accuracy by answer strings: whether a retrieved passage holds an answer of the query.

It is the ``nq`` metric of LLM-Embedder, which has it from DPR: answer and passage are brought to
Unicode's normal form NFD, split into tokens (runs of letters, digits and marks, or single other
signs), and compared in lower case. An answer is found where its tokens follow each other.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Iterable, Sequence

from torch import Tensor

from llm_embedder_data.core.answer_strings import words_of

# Queries whose passages are read at a time, which bounds memory.
_QUERIES_AT_ONCE = 256


def answer_accuracy(
    retrieved: Tensor,
    answers: Sequence[Sequence[str]],
    texts_of: Callable[[Iterable[int]], list[str]],
    cutoffs: Sequence[int],
) -> dict[str, float]:
    """Return the share of queries with an answer in one of their best k passages.

    Args:
        retrieved: ``[Q, k]`` int64, best first; -1 where there is no row.
        answers: of each query. Queries without an answer do not count.
        texts_of: returns the texts of corpus rows.
        cutoffs: each at least 1.

    Returns:
        ``{"answer_accuracy@10": ...}``; empty if no query has an answer.
    """
    first: list[float] = []
    rows = retrieved[:, : max(cutoffs)].tolist()
    for start in range(0, len(rows), _QUERIES_AT_ONCE):
        here = slice(start, start + _QUERIES_AT_ONCE)
        wanted = {
            row
            for found, of_query in zip(rows[here], answers[here], strict=True)
            if of_query
            for row in found
            if row >= 0
        }
        in_order = sorted(wanted)
        passages = dict(zip(in_order, map(_Passage, texts_of(in_order)), strict=True))
        for found, of_query in zip(rows[here], answers[here], strict=True):
            tokens = [tokens for answer in of_query if (tokens := words_of(answer))]
            if tokens:
                hits = (
                    rank
                    for rank, row in enumerate(found)
                    if row >= 0 and any(map(passages[row].holds, tokens))
                )
                first.append(next(hits, math.inf))
    if not first:
        return {}
    return {
        f"answer_accuracy@{cutoff}": sum(rank < cutoff for rank in first) / len(first)
        for cutoff in cutoffs
    }


class _Passage:
    """A passage, split into tokens only if it may hold an answer."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._lower = _lower(unicodedata.normalize("NFD", text))
        self._tokens: list[str] | None = None

    def holds(self, answer: Sequence[str]) -> bool:
        if not all(_lower(token) in self._lower for token in answer):
            return False
        if self._tokens is None:
            self._tokens = words_of(self._text)
        n_tokens = len(answer)
        return any(
            self._tokens[start : start + n_tokens] == answer
            for start in range(len(self._tokens) - n_tokens + 1)
        )


def _lower(text: str) -> str:
    """Return lower case that does not depend on what stands beside a letter, as sigma's does."""
    return text.lower().replace("\u03c2", "\u03c3")
