"""Randomness as a function: draws come from 64-bit hashes, not from a generator with state.

A stream is the set of all draws made for one purpose, such as the negatives of one epoch. The seed
of a stream is the hash of its purpose (:func:`stream_seed`), and each draw is the hash of a number
under that seed (:func:`hash_rows`). So a draw depends neither on earlier draws nor on the process.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xxhash
from numpy.typing import NDArray

# Zero-dimensional arrays, because NumPy takes 0.4 us to convert a Python integer: longer than it
# takes to hash a batch.
_GOLDEN = np.array(0x9E3779B97F4A7C15, np.uint64)
_MUL_1 = np.array(0xBF58476D1CE4E5B9, np.uint64)
_MUL_2 = np.array(0x94D049BB133111EB, np.uint64)
_S30, _S27, _S31, _S32 = (np.array(bits, np.uint64) for bits in (30, 27, 31, 32))
_ONE = np.array(1, np.uint64)
_MASK = (1 << 64) - 1
_TWO_PARTS = np.array((2 * 0x9E3779B97F4A7C15) & _MASK, np.uint64)


def mix(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Hash each 64-bit word with SplitMix64's finaliser (Steele et al., OOPSLA 2014)."""
    words = (words ^ (words >> _S30)) * _MUL_1
    words = (words ^ (words >> _S27)) * _MUL_2
    return words ^ (words >> _S31)


def stream_seed(*parts: int | str) -> int:
    """Hash a purpose such as ``(seed, "negatives", epoch)`` to the 64-bit seed of its stream.

    The order and the number of parts count, so that two purposes never share a stream by accident.
    In contrast, NumPy's ``default_rng([7])`` and ``default_rng([7, 0])`` share a stream, and with
    ``seed + epoch`` so do seed 0 at epoch 1 and seed 1 at epoch 0.
    """
    seed = len(parts)
    for part in parts:
        word = xxhash.xxh3_64_intdigest(part.encode()) if isinstance(part, str) else part
        seed = _mix_word((seed * 0x9E3779B97F4A7C15 + word) & _MASK)
    return seed


def stream_seeds(seeds: NDArray[np.uint64], numbers: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return ``stream_seed(seed, number)`` for arrays of one or more dimensions, broadcast."""
    return mix(mix(seeds + _TWO_PARTS) * _GOLDEN + numbers.astype(np.uint64))


def hash_rows(seed: int, rows: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Draw one independent 64-bit word per row number, in the shape of ``rows``."""
    return mix((rows.astype(np.uint64) + _ONE) * _GOLDEN + np.array(seed, np.uint64))


def below(words: NDArray[np.uint64], n: NDArray[np.int64] | int) -> NDArray[np.int64]:
    """Map random words to integers in ``[0, n)``, n <= 2**32 (Lemire's multiply-shift, 2019)."""
    return (((words >> _S32) * np.asarray(n, np.uint64)) >> _S32).astype(np.int64)


def text_ids(texts: Sequence[str]) -> NDArray[np.int64]:
    """Return a stable 64-bit hash (XXH3) of each text, ``[n]`` int64; never 0, which is padding."""
    ids = np.array([xxhash.xxh3_64_intdigest(text.encode()) for text in texts], np.uint64)
    return np.where(ids == 0, np.uint64(1), ids).view(np.int64)


def _mix_word(word: int) -> int:
    """:func:`mix` for one Python integer."""
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & _MASK
    return word ^ (word >> 31)
