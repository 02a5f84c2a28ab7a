"""A pseudo-random permutation of range(n) that answers for any place without a table."""

from __future__ import annotations

from math import isqrt

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.core.hashing import mix, stream_seeds

_ROUNDS = np.arange(8)
_ONE = np.array(1, np.uint64)


def permute(
    places: NDArray[np.int64], n: int | NDArray[np.int64], seed: int | NDArray[np.uint64]
) -> NDArray[np.int64]:
    """Send each of ``places`` to its image under the permutation of ``range(n)`` named by ``seed``.

    A generalised Feistel network over ``range(a * b)``, a and b about the root of n, whose two
    halves are in turn shifted modulo a and b by a hash of the other; an image of n or more is sent
    on until it falls inside (Black and Rogaway, Ciphers with Arbitrary Finite Domains, CT-RSA 2002,
    section 5, and cycle walking, section 4). ``a * b < n + a``, so hardly any is. O(len(places))
    time and memory whatever n is.

    Several permutations are asked at once, which costs little more than one, with arrays for n and
    seed that broadcast to the shape of ``places``.

    Args:
        places: int64, of any shape, each in ``[0, n)``.
        n: size of the range, at least 1.
        seed: from :func:`~llm_embedder_data.core.hashing.stream_seed`.

    Returns:
        The images, in the shape of ``places``.

    >>> import numpy as np
    >>> permute(np.arange(5), 5, seed=1).tolist()
    [2, 3, 0, 4, 1]
    """
    size, keys = np.asarray(n, np.uint64), np.asarray(seed, np.uint64)
    if size.size == keys.size == 1:  # NumPy broadcasts arrays without a dimension the fastest
        size, keys = size.reshape(()), keys.reshape(())
    widths = [isqrt(one - 1) + 1 for one in size.ravel().tolist()]
    a = np.array(widths, np.uint64).reshape(size.shape)
    b = np.asarray((size + a - _ONE) // a)
    keys = stream_seeds(keys[..., None], _ROUNDS)
    parts = [a, b, *(keys[..., number] for number in _ROUNDS.tolist())]
    images = _network(places.astype(np.uint64), *parts)
    while len(outside := np.flatnonzero(images >= size)):
        walking = np.unravel_index(outside, images.shape)
        own = (np.broadcast_to(one, images.shape)[walking] if one.ndim else one for one in parts)
        images[walking] = _network(images[walking], *own)
    return images.astype(np.int64)


def unpermute(images: NDArray[np.int64], n: int, seed: int) -> NDArray[np.int64]:
    """The places that :func:`permute` sends to ``images``, for one n and one seed.

    >>> import numpy as np
    >>> unpermute(permute(np.arange(5), 5, seed=1), 5, seed=1).tolist()
    [0, 1, 2, 3, 4]
    """
    width = isqrt(n - 1) + 1
    a, b = np.array(width, np.uint64), np.array((n + width - 1) // width, np.uint64)
    keys = stream_seeds(np.array([seed], np.uint64), _ROUNDS)
    places = _network_back(images.astype(np.uint64), a, b, *keys)
    while len(outside := np.flatnonzero(places >= n)):
        places[outside] = _network_back(places[outside], a, b, *keys)
    return places.astype(np.int64)


def _network(
    values: NDArray[np.uint64],
    a: NDArray[np.uint64],
    b: NDArray[np.uint64],
    *round_keys: NDArray[np.uint64],
) -> NDArray[np.uint64]:
    """A permutation of ``range(a * b)``."""
    right = values // a  # in [0, b)
    left = values - right * a  # in [0, a)
    for number, round_key in enumerate(round_keys):
        if number % 2:
            right = _shifted(right, mix(left + round_key), b)
        else:
            left = _shifted(left, mix(right + round_key), a)
    return right * a + left


def _network_back(
    values: NDArray[np.uint64],
    a: NDArray[np.uint64],
    b: NDArray[np.uint64],
    *round_keys: np.uint64,
) -> NDArray[np.uint64]:
    """The inverse of :func:`_network`."""
    right = values // a
    left = values - right * a
    for number, round_key in reversed(list(enumerate(round_keys))):
        if number % 2:
            right = _shifted_back(right, mix(left + round_key), b)
        else:
            left = _shifted_back(left, mix(right + round_key), a)
    return right * a + left


def _shifted_back(
    half: NDArray[np.uint64], words: NDArray[np.uint64], n: NDArray[np.uint64]
) -> NDArray[np.uint64]:
    """``(half - words) mod n``; half is in ``[0, n)``."""
    rest = half - words % n
    return np.minimum(rest, rest + n)  # below 0, the difference wraps to a huge number


def _shifted(
    half: NDArray[np.uint64], words: NDArray[np.uint64], n: NDArray[np.uint64]
) -> NDArray[np.uint64]:
    """``(half + words) mod n`` without a second division; half is in ``[0, n)``."""
    total = half + words % n
    return np.minimum(total, total - n)  # below n, the difference wraps to a huge number
