"""Shingles: the set of a text's runs of five characters, and the similarity of two of these sets.

Runs of characters suit short queries, where a changed word leaves most runs as they are. They also
suit scripts that put no blanks between words.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.core.hashing import mix

N_CHARACTERS = 5

# Put after each text, so that no run, not even that of an empty text, reaches into the next text.
_GAP = "\0" * N_CHARACTERS
_BASE = np.uint64(0x9E3779B97F4A7C15)


def shingles(texts: Sequence[str]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Return hashes of all runs of five characters; a shorter text is a single run.

    Args:
        texts: in normal form.

    Returns:
        ``[s]`` uint64, the hashes, text after text, repeats included; and ``[n+1]`` int64, where
        the hashes of each text begin.
    """
    joined = _GAP.join([*texts, ""])
    points = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32)
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    text_starts = np.cumsum(lengths + len(_GAP)) - lengths - len(_GAP)
    n_runs = np.maximum(lengths - N_CHARACTERS + 1, 1)
    bounds = np.append(0, np.cumsum(n_runs))
    run_starts = np.arange(bounds[-1]) - np.repeat(bounds[:-1] - text_starts, n_runs)
    hashes = np.zeros(len(run_starts), np.uint64)
    for k in range(N_CHARACTERS):
        hashes = hashes * _BASE + points[run_starts + k]
    return mix(hashes), bounds


def distinct(hashes: NDArray[np.uint64], bounds: NDArray[np.int64]) -> list[NDArray[np.uint64]]:
    """Return each set as an array of its members, each once, ascending.

    Args:
        hashes: ``[s]`` uint64, the members of all sets, set after set.
        bounds: ``[n+1]`` int64, where the members of each set begin.
    """
    return [np.unique(members) for members in np.split(hashes, bounds[1:-1])][: len(bounds) - 1]


def jaccard(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> float:
    """Return the Jaccard similarity of two sets: shared members over all members.

    Args:
        a: ``[i]`` uint64, every member once.
        b: ``[j]`` uint64, every member once.
    """
    n_both = len(np.intersect1d(a, b, assume_unique=True))
    return n_both / (len(a) + len(b) - n_both)


def jaccard_from(threshold: float, a: NDArray[np.uint64], b: NDArray[np.uint64]) -> float:
    """Return the Jaccard similarity of two sets if it reaches a threshold, else 0.

    Two empty sets have similarity 1. Members of sets whose sizes differ too much for the threshold
    are not compared.

    Args:
        threshold: the threshold, above 0.
        a: ``[i]`` uint64, every member once.
        b: ``[j]`` uint64, every member once.
    """
    if not len(a) and not len(b):
        return 1.0
    if min(len(a), len(b)) < threshold * max(len(a), len(b)):
        return 0.0
    similarity = jaccard(a, b)
    return similarity if similarity >= threshold else 0.0
