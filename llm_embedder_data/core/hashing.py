"""Randomness as a function: 64-bit hashes of what a draw is for, no generator that is advanced."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xxhash
from numpy.typing import NDArray

# Arrays without a dimension: NumPy takes 0.4 us to make one of a scalar, more than a batch's hash.
_GOLDEN = np.array(0x9E3779B97F4A7C15, np.uint64)
_MUL_1 = np.array(0xBF58476D1CE4E5B9, np.uint64)
_MUL_2 = np.array(0x94D049BB133111EB, np.uint64)
_S30, _S27, _S31, _S32 = (np.array(bits, np.uint64) for bits in (30, 27, 31, 32))
_ONE = np.array(1, np.uint64)
_MASK = (1 << 64) - 1
_TWO_PARTS = np.array((2 * 0x9E3779B97F4A7C15) & _MASK, np.uint64)


def mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Hash 64-bit words, each on its own: SplitMix64's finaliser (Steele et al., OOPSLA 2014)."""
    values = (values ^ (values >> _S30)) * _MUL_1
    values = (values ^ (values >> _S27)) * _MUL_2
    return values ^ (values >> _S31)


def stream_seed(*parts: int | str) -> int:
    """Fold a tuple such as ``(seed, "negatives", epoch)`` into one 64-bit key.

    Order and length both count, so no two decisions share a stream by accident: NumPy's
    ``default_rng([7])`` and ``default_rng([7, 0])`` do, and so do seeds 0 and 1 under
    ``seed + epoch``, an epoch apart.
    """
    key = len(parts)
    for part in parts:
        word = xxhash.xxh3_64_intdigest(part.encode()) if isinstance(part, str) else part
        key = _mix_one((key * 0x9E3779B97F4A7C15 + word) & _MASK)
    return key


def stream_seeds(keys: NDArray[np.uint64], numbers: NDArray[np.int64]) -> NDArray[np.uint64]:
    """``stream_seed(key, number)`` for arrays of at least one dimension that broadcast together."""
    return mix(mix(keys + _TWO_PARTS) * _GOLDEN + numbers.astype(np.uint64))


def hash_rows(key: int, rows: NDArray[np.int64]) -> NDArray[np.uint64]:
    """One independent 64-bit word for each number under ``key``, in the shape of ``rows``."""
    return mix((rows.astype(np.uint64) + _ONE) * _GOLDEN + np.array(key, np.uint64))


def below(words: NDArray[np.uint64], n: NDArray[np.int64] | int) -> NDArray[np.int64]:
    """Words as numbers in ``[0, n)``, n up to 2**32, by multiplication and shift (Lemire, 2019)."""
    return (((words >> _S32) * np.asarray(n, np.uint64)) >> _S32).astype(np.int64)


def text_ids(texts: Sequence[str]) -> NDArray[np.int64]:
    """A stable 64-bit hash of each text (XXH3), ``[n]`` int64; never 0, which means no text."""
    ids = np.array([xxhash.xxh3_64_intdigest(text.encode()) for text in texts], np.uint64)
    return np.where(ids == 0, np.uint64(1), ids).view(np.int64)


def _mix_one(word: int) -> int:
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & _MASK
    return word ^ (word >> 31)
