"""Texts as sets of their runs of five characters, and how much of two sets is the same.

Runs of characters suit short queries, where one other word leaves most runs as they are, and
scripts that put no blanks between words.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.core.hashing import mix

N_CHARACTERS = 5

_GAP = "\0" * N_CHARACTERS  # so that not even an empty text's run reaches into the next text
_BASE = np.uint64(0x9E3779B97F4A7C15)


def shingles(texts: Sequence[str]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Hashes of all runs of five characters; a shorter text is one run.

    Args:
        texts: in normal form.

    Returns:
        ``[s]`` uint64 hashes, text by text, and ``[n+1]`` int64, where each text's hashes begin.
    """
    joined = _GAP.join([*texts, ""])
    points = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32)
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    starts = np.cumsum(lengths + len(_GAP)) - lengths - len(_GAP)
    counts = np.maximum(lengths - N_CHARACTERS + 1, 1)
    bounds = np.append(0, np.cumsum(counts))
    at = np.arange(bounds[-1]) - np.repeat(bounds[:-1] - starts, counts)
    hashes = np.zeros(len(at), np.uint64)
    for place in range(N_CHARACTERS):
        hashes = hashes * _BASE + points[at + place]
    return mix(hashes), bounds


def distinct(hashes: NDArray[np.uint64], bounds: NDArray[np.int64]) -> list[NDArray[np.uint64]]:
    """The members of each set once, ascending.

    Args:
        hashes: ``[s]`` uint64, the members of all sets.
        bounds: ``[n+1]`` int64, where each set's begin.
    """
    return [np.unique(own) for own in np.split(hashes, bounds[1:-1])][: len(bounds) - 1]


def jaccard(one: NDArray[np.uint64], other: NDArray[np.uint64]) -> float:
    """The share of two sets' members that both have.

    Args:
        one: each member once, ascending or not.
        other: likewise.
    """
    n_both = len(np.intersect1d(one, other, assume_unique=True))
    return n_both / (len(one) + len(other) - n_both)
