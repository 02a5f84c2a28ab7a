"""Which texts share a run of 13 words with some others: a search for all these runs at once.

A run is a piece of the normal text, from its first word to its last. Its hash is a difference of
two sums over the bytes before its ends, so that hashing all runs of a text is one pass over it. The
pieces whose hash is a searched one's are then compared byte by byte.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.core.hashing import hash_rows, stream_seed
from llm_embedder_data.inspection.doctor.flat_texts import FlatTexts

# Words of a run that two texts share by copying, not by chance (GPT-3's rule, Brown et al., 2020).
N_WORDS = 13

_BLANK = 0x20
_WINDOW = 1 << 18  # bytes of a pass: they stay in the processor's cache
_BASE = 0x9E3779B1  # odd, so that it has an inverse
_BITS = 22  # of the hash, by which most other runs are put aside at once
_OF_BYTE = hash_rows(stream_seed("word runs"), np.arange(256)).astype(np.uint32)


@dataclass(frozen=True, slots=True)
class WordRuns:
    """Runs of 13 words of some texts.

    Attributes:
        starts: ``[r]`` int64, where each run begins in the texts' content.
        ends: ``[r]`` int64, behind its last byte.
        text: ``[r]`` int64, the number of its text.
    """

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    text: NDArray[np.int64]


class SearchedRuns:
    """Finds texts that share a run of 13 words with the searched ones.

    Args:
        texts: searched, in normal form.
    """

    def __init__(self, texts: FlatTexts) -> None:
        runs = word_runs(texts)
        self._runs = {
            texts.content[start:end].tobytes()
            for start, end in zip(runs.starts.tolist(), runs.ends.tolist(), strict=True)
        }
        self._hashes = np.unique(_hashes(texts.content, runs))
        self._is_searched = np.zeros(1 << _BITS, bool)
        self._is_searched[self._hashes >> np.uint32(32 - _BITS)] = True

    def within(self, texts: FlatTexts) -> NDArray[np.bool_]:
        """``[n]`` bool, whether a text has one of the runs.

        Args:
            texts: in normal form.
        """
        if not self._runs:
            return np.zeros(len(texts), bool)
        packed = texts.packed()
        return np.concatenate(
            [self._within(packed.window(own)) for own in packed.windows(_WINDOW)]
            or [np.zeros(0, bool)]
        )

    def _within(self, texts: FlatTexts) -> NDArray[np.bool_]:
        found = np.zeros(len(texts), bool)
        runs = word_runs(texts)
        hashes = _hashes(texts.content, runs)
        likely = np.flatnonzero(self._is_searched[hashes >> np.uint32(32 - _BITS)])
        at = np.searchsorted(self._hashes, hashes[likely])
        equal = self._hashes[np.minimum(at, len(self._hashes) - 1)] == hashes[likely]
        for run in likely[equal].tolist():
            text = runs.text[run]
            if not found[text]:
                piece = texts.content[runs.starts[run] : runs.ends[run]].tobytes()
                found[text] = piece in self._runs
        return found


def word_runs(texts: FlatTexts) -> WordRuns:
    """All runs of 13 words of some texts in normal form."""
    content = texts.content
    filled = np.flatnonzero(texts.ends > texts.starts)
    filled = filled[np.argsort(texts.starts[filled], kind="stable")]
    first, behind = texts.starts[filled], texts.ends[filled]
    inside = np.zeros(len(content) + 1, np.int8)
    inside[first] += 1
    inside[behind] -= 1
    is_letter = content != _BLANK
    is_letter &= np.cumsum(inside[:-1], dtype=np.int8).view(bool)
    is_start, is_end = is_letter.copy(), is_letter.copy()
    is_start[1:] &= ~is_letter[:-1]
    is_end[:-1] &= ~is_letter[1:]
    is_start[first] = True
    is_end[behind - 1] = True
    starts, ends = np.flatnonzero(is_start), np.flatnonzero(is_end) + 1
    n_runs = max(len(starts) - N_WORDS + 1, 0)
    counts = np.searchsorted(starts, behind) - np.searchsorted(starts, first)
    text = np.repeat(filled, counts)
    within = text[:n_runs] == text[len(text) - n_runs :]
    return WordRuns(
        starts[:n_runs][within], ends[len(ends) - n_runs :][within], text[:n_runs][within]
    )


def _hashes(content: NDArray[np.uint8], runs: WordRuns) -> NDArray[np.uint32]:
    """``[r]`` uint32: the bytes' words as digits of a number, modulo 2**32."""
    hashes = np.empty(len(runs.starts), np.uint32)
    first = 0
    while first < len(hashes):
        base = int(runs.starts[first])
        end = max(first + 1, int(np.searchsorted(runs.ends, base + _WINDOW, "right")))
        piece = content[base : runs.ends[end - 1]]
        powers, inverses = _powers(max(_WINDOW, 1 << len(piece).bit_length()))
        sums = np.zeros(len(piece) + 1, np.uint32)
        np.cumsum(_OF_BYTE[piece] * powers[: len(piece)], dtype=np.uint32, out=sums[1:])
        starts = runs.starts[first:end] - base
        hashes[first:end] = (sums[runs.ends[first:end] - base] - sums[starts]) * inverses[starts]
        first = end
    return hashes


@lru_cache(maxsize=1)
def _powers(n: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """The powers 0 to n - 1 of the base and of its inverse, modulo 2**32, ``[n]`` uint32 each."""
    both = []
    for base in (_BASE, pow(_BASE, -1, 1 << 32)):
        factors = np.full(n, base, np.uint32)
        factors[0] = 1
        both.append(np.cumprod(factors, dtype=np.uint32))
    return both[0], both[1]
