"""Top-k accuracy by answer strings: whether a retrieved passage contains an answer to the query.

This is LLM-Embedder's ``nq`` metric, which goes back to DPR (Karpukhin et al., arXiv:2004.04906).
Answer and passage are normalized to Unicode NFD, split into tokens (runs of letters, digits and
marks, or any other single character) and compared in lower case. A passage contains an answer if
the answer's tokens occur in it one after another.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Iterable, Sequence

from torch import Tensor

from llm_embedder_data.core.answer_strings import words_of

# Number of queries whose passages are in memory at a time.
_QUERIES_AT_ONCE = 256


def answer_accuracy(
    retrieved: Tensor,
    answers: Sequence[Sequence[str]],
    texts_of: Callable[[Iterable[int]], list[str]],
    cutoffs: Sequence[int],
) -> dict[str, float]:
    """Return, for each cutoff k, the share of queries with an answer in their best k passages.

    Args:
        retrieved: ``[Q, k]`` int64, corpus rows, best first; -1 where there is no result.
        answers: Q lists of answer strings. Queries with an empty list are not counted.
        texts_of: returns the texts of the given corpus rows, in the same order.
        cutoffs: each at least 1.

    Returns:
        ``{"answer_accuracy@10": ...}`` in [0, 1]; empty if no query has an answer.
    """
    # For each query, the rank from 0 of its best passage with an answer; inf without any.
    best_ranks: list[float] = []
    rows = retrieved[:, : max(cutoffs)].tolist()
    for start in range(0, len(rows), _QUERIES_AT_ONCE):
        here = slice(start, start + _QUERIES_AT_ONCE)
        wanted = sorted(
            {
                row
                for found, query_answers in zip(rows[here], answers[here], strict=True)
                if query_answers
                for row in found
                if row >= 0
            }
        )
        passages = dict(zip(wanted, map(_Passage, texts_of(wanted)), strict=True))
        for found, query_answers in zip(rows[here], answers[here], strict=True):
            tokens = [tokens for answer in query_answers if (tokens := words_of(answer))]
            if tokens:
                hits = (
                    rank
                    for rank, row in enumerate(found)
                    if row >= 0 and any(map(passages[row].holds, tokens))
                )
                best_ranks.append(next(hits, math.inf))
    if not best_ranks:
        return {}
    return {
        f"answer_accuracy@{cutoff}": sum(rank < cutoff for rank in best_ranks) / len(best_ranks)
        for cutoff in cutoffs
    }


class _Passage:
    """A passage. It is split into tokens, which is slow, only if it has all tokens of an answer."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._lower = _lower(unicodedata.normalize("NFD", text))
        self._tokens: list[str] | None = None

    def holds(self, answer: Sequence[str]) -> bool:
        """Return whether the passage contains the tokens of an answer one after another."""
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
    """Lower-case a text letter by letter.

    ``str.lower`` turns a capital sigma at the end of a word into a final sigma; here both forms
    become the same letter.
    """
    return text.lower().replace("\u03c2", "\u03c3")
