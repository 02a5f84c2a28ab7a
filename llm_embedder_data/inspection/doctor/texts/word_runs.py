"""Searches texts for runs of 13 words that occur in other texts too.

A run is 13 consecutive words of a text in normal form, with the blanks between them. All runs of a
text are hashed in one pass: the hash of a run is the difference of two running sums over the bytes
of the text, at the ends of the run. If the hash of a run is among those of the searched runs, the
bytes of the run are looked up among the searched runs, so that equal hashes cause no error.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.core.hashing import hash_rows, stream_seed
from llm_embedder_data.inspection.doctor.texts.flat_texts import FlatTexts

# Two texts share this many words in a row only if one was copied, not by chance (the rule of GPT-3;
# Brown et al., 2020).
N_WORDS = 13

_BLANK = 0x20
_WINDOW_BYTES = 1 << 18  # processed at a time, so that they stay in the processor's cache
_BASE = 0x9E3779B1  # odd, so that it has an inverse modulo 2**32
# The number of highest bits of a hash that index a table of booleans, which rules most runs out.
_TABLE_BITS = 22
_HASH_OF_BYTE = hash_rows(stream_seed("word runs"), np.arange(256)).astype(np.uint32)


@dataclass(frozen=True, slots=True)
class WordRuns:
    """All runs of 13 words of some texts.

    Attributes:
        starts: ``[r]`` int64, where each run begins in the texts' ``content``.
        ends: ``[r]`` int64, where each run ends (the position after its last byte).
        text: ``[r]`` int64, the number of each run's text.
    """

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    text: NDArray[np.int64]


class SearchedRuns:
    """The runs of some texts, to be searched for in other texts.

    Args:
        texts: the texts, in normal form, whose runs are searched for.
    """

    def __init__(self, texts: FlatTexts) -> None:
        runs = word_runs(texts)
        self._runs = {
            texts.content[start:end].tobytes()
            for start, end in zip(runs.starts.tolist(), runs.ends.tolist(), strict=True)
        }
        self._hashes = np.unique(_hashes(texts.content, runs))
        self._may_be_searched = np.zeros(1 << _TABLE_BITS, bool)
        self._may_be_searched[_highest_bits(self._hashes)] = True

    def found_in(self, texts: FlatTexts) -> NDArray[np.bool_]:
        """Return whether each text has a searched run, ``[n]`` bool.

        Args:
            texts: the n texts to search, in normal form.
        """
        if not self._runs:
            return np.zeros(len(texts), bool)
        packed = texts.packed()
        return np.concatenate(
            [self._found_in(packed.window(numbers)) for numbers in packed.windows(_WINDOW_BYTES)]
            or [np.zeros(0, bool)]
        )

    def _found_in(self, texts: FlatTexts) -> NDArray[np.bool_]:
        found = np.zeros(len(texts), bool)
        runs = word_runs(texts)
        hashes = _hashes(texts.content, runs)
        likely = np.flatnonzero(self._may_be_searched[_highest_bits(hashes)])
        nearest = np.searchsorted(self._hashes, hashes[likely])
        equal = self._hashes[np.minimum(nearest, len(self._hashes) - 1)] == hashes[likely]
        for run in likely[equal].tolist():
            text = runs.text[run]
            if not found[text]:
                piece = texts.content[runs.starts[run] : runs.ends[run]].tobytes()
                found[text] = piece in self._runs
        return found


def word_runs(texts: FlatTexts) -> WordRuns:
    """Return all runs of 13 words of texts in normal form."""
    content = texts.content
    filled = np.flatnonzero(texts.ends > texts.starts)
    filled = filled[np.argsort(texts.starts[filled], kind="stable")]
    text_starts, text_ends = texts.starts[filled], texts.ends[filled]
    is_inside = np.zeros(len(content) + 1, np.int8)  # 1 at bytes of a text, once summed up
    is_inside[text_starts] += 1
    is_inside[text_ends] -= 1
    is_letter = content != _BLANK
    is_letter &= np.cumsum(is_inside[:-1], dtype=np.int8).view(bool)
    is_start, is_end = is_letter.copy(), is_letter.copy()
    is_start[1:] &= ~is_letter[:-1]
    is_end[:-1] &= ~is_letter[1:]
    # Texts may lie next to each other without a blank between their words.
    is_start[text_starts] = True
    is_end[text_ends - 1] = True
    starts, ends = np.flatnonzero(is_start), np.flatnonzero(is_end) + 1  # of all words
    n_runs = max(len(starts) - N_WORDS + 1, 0)
    n_words = np.searchsorted(starts, text_ends) - np.searchsorted(starts, text_starts)
    text = np.repeat(filled, n_words)  # of each word
    within_text = text[:n_runs] == text[len(text) - n_runs :]
    return WordRuns(
        starts[:n_runs][within_text],
        ends[len(ends) - n_runs :][within_text],
        text[:n_runs][within_text],
    )


def _highest_bits(hashes: NDArray[np.uint32]) -> NDArray[np.uint32]:
    return hashes >> np.uint32(32 - _TABLE_BITS)


def _hashes(content: NDArray[np.uint8], runs: WordRuns) -> NDArray[np.uint32]:
    """Return the hash of each run, ``[r]`` uint32.

    It is the sum of ``hash of byte k * base**k``, modulo 2**32, with k counted from the run's
    start. The running sums count k from the start of a window, so a difference of two of them is
    divided by ``base**start``.
    """
    hashes = np.empty(len(runs.starts), np.uint32)
    first = 0
    while first < len(hashes):
        offset = int(runs.starts[first])
        end = max(first + 1, int(np.searchsorted(runs.ends, offset + _WINDOW_BYTES, "right")))
        window = content[offset : runs.ends[end - 1]]
        powers, inverses = _powers(max(_WINDOW_BYTES, 1 << len(window).bit_length()))
        sums = np.zeros(len(window) + 1, np.uint32)
        np.cumsum(_HASH_OF_BYTE[window] * powers[: len(window)], dtype=np.uint32, out=sums[1:])
        starts, ends = runs.starts[first:end] - offset, runs.ends[first:end] - offset
        hashes[first:end] = (sums[ends] - sums[starts]) * inverses[starts]
        first = end
    return hashes


@lru_cache(maxsize=1)
def _powers(n: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Return the powers 0 to n - 1 of the base, and of its inverse, modulo 2**32, ``[n]`` each."""
    powers = []
    for base in (_BASE, pow(_BASE, -1, 1 << 32)):
        factors = np.full(n, base, np.uint32)
        factors[0] = 1
        powers.append(np.cumprod(factors, dtype=np.uint32))
    return powers[0], powers[1]
