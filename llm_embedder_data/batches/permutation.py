"""A pseudo-random permutation of range(n) that answers for any place without a table."""

from __future__ import annotations

from math import isqrt

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.hashing import derive_key, mix

_ROUNDS = 8


def permute(places: NDArray[np.int64], n: int, key: int) -> NDArray[np.int64]:
    """Send each of ``places`` to its image under the permutation of ``range(n)`` named by ``key``.

    A generalised Feistel network over ``range(a * b)``, a and b about the root of n, whose two
    halves are in turn shifted modulo a and b by a hash of the other; an image of n or more is sent
    on until it falls inside (Black and Rogaway, Ciphers with Arbitrary Finite Domains, CT-RSA 2002,
    section 5, and cycle walking, section 4). ``a * b < n + a``, so hardly any is. O(len(places))
    time and memory whatever n is.

    Args:
        places: ``[m]`` int64, each in ``[0, n)``.
        n: size of the range, at least 1.
        key: from :func:`~llm_embedder_data.hashing.derive_key`.

    Returns:
        The images, ``[m]`` int64.
    """
    width = isqrt(n - 1) + 1
    a, b = np.uint64(width), np.uint64(-(-n // width))
    round_keys = [np.uint64(derive_key(key, number)) for number in range(_ROUNDS)]
    out = places.astype(np.uint64)
    walking: NDArray[np.int64] | slice = slice(None)
    while True:
        right, left = np.divmod(out[walking], a)  # left in [0, a), right in [0, b)
        for number, round_key in enumerate(round_keys):
            if number % 2:
                right = (right + mix(left + round_key) % b) % b
            else:
                left = (left + mix(right + round_key) % a) % a
        out[walking] = right * a + left
        walking = np.flatnonzero(out >= np.uint64(n))
        if not len(walking):
            return out.astype(np.int64)
