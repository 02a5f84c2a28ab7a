"""A pseudo-random permutation of range(n), computed for any position without a table."""

from __future__ import annotations

from math import isqrt

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.core.hashing import mix, stream_seeds

_ROUNDS = np.arange(8)
_ONE = np.array(1, np.uint64)


def permute(
    positions: NDArray[np.int64], n: int | NDArray[np.int64], seed: int | NDArray[np.uint64]
) -> NDArray[np.int64]:
    """Return the image of each position under the permutation of ``range(n)`` given by a seed.

    This is a generalised Feistel network over ``range(a * b)``, with a and b about the square root
    of n. Each round shifts one half, modulo a or b, by a hash of the other half. An image of n or
    more is permuted again until it is below n (Black and Rogaway, Ciphers with Arbitrary Finite
    Domains, CT-RSA 2002: section 5, and cycle walking in section 4). ``a * b < n + a``, so few
    images need that. Time and memory are O(number of positions), whatever n is.

    To compute several permutations in one call, give arrays for n and seed that broadcast to the
    shape of ``positions``. That costs little more than one permutation.

    Args:
        positions: int64, of any shape, each in ``[0, n)``.
        n: size of the range, at least 1.
        seed: from :func:`~llm_embedder_data.core.hashing.stream_seed`.

    Returns:
        The images, int64, in the shape of ``positions``.

    >>> import numpy as np
    >>> permute(np.arange(5), 5, seed=1).tolist()
    [2, 3, 0, 4, 1]
    """
    size, seeds = np.asarray(n, np.uint64), np.asarray(seed, np.uint64)
    if size.size == seeds.size == 1:  # NumPy broadcasts zero-dimensional arrays fastest
        size, seeds = size.reshape(()), seeds.reshape(())
    widths = [isqrt(n_items - 1) + 1 for n_items in size.ravel().tolist()]
    a = np.array(widths, np.uint64).reshape(size.shape)
    b = np.asarray((size + a - _ONE) // a)
    round_seeds = stream_seeds(seeds[..., None], _ROUNDS)
    arguments = [a, b, *(round_seeds[..., number] for number in _ROUNDS.tolist())]
    images = _network(positions.astype(np.uint64), *arguments)
    while len(outside := np.flatnonzero(images >= size)):
        again = np.unravel_index(outside, images.shape)
        arguments_again = (
            np.broadcast_to(argument, images.shape)[again] if argument.ndim else argument
            for argument in arguments
        )
        images[again] = _network(images[again], *arguments_again)
    return images.astype(np.int64)


def unpermute(images: NDArray[np.int64], n: int, seed: int) -> NDArray[np.int64]:
    """Return the positions that :func:`permute` maps to ``images``, for one n and one seed.

    >>> import numpy as np
    >>> unpermute(permute(np.arange(5), 5, seed=1), 5, seed=1).tolist()
    [0, 1, 2, 3, 4]
    """
    width = isqrt(n - 1) + 1
    a, b = np.array(width, np.uint64), np.array((n + width - 1) // width, np.uint64)
    round_seeds = stream_seeds(np.array([seed], np.uint64), _ROUNDS)
    positions = _network_back(images.astype(np.uint64), a, b, *round_seeds)
    while len(outside := np.flatnonzero(positions >= n)):
        positions[outside] = _network_back(positions[outside], a, b, *round_seeds)
    return positions.astype(np.int64)


def _network(
    values: NDArray[np.uint64],
    a: NDArray[np.uint64],
    b: NDArray[np.uint64],
    *round_seeds: NDArray[np.uint64],
) -> NDArray[np.uint64]:
    """Return the images of values under a permutation of ``range(a * b)``."""
    right = values // a  # in [0, b)
    left = values - right * a  # in [0, a)
    for number, round_seed in enumerate(round_seeds):
        if number % 2:
            right = _shifted(right, mix(left + round_seed), b)
        else:
            left = _shifted(left, mix(right + round_seed), a)
    return right * a + left


def _network_back(
    values: NDArray[np.uint64],
    a: NDArray[np.uint64],
    b: NDArray[np.uint64],
    *round_seeds: np.uint64,
) -> NDArray[np.uint64]:
    """Return the inverse images of values under :func:`_network`."""
    right = values // a
    left = values - right * a
    for number, round_seed in reversed(list(enumerate(round_seeds))):
        if number % 2:
            right = _shifted_back(right, mix(left + round_seed), b)
        else:
            left = _shifted_back(left, mix(right + round_seed), a)
    return right * a + left


def _shifted_back(
    half: NDArray[np.uint64], words: NDArray[np.uint64], n: NDArray[np.uint64]
) -> NDArray[np.uint64]:
    """Return ``(half - words) mod n``; half is in ``[0, n)``."""
    rest = half - words % n
    return np.minimum(rest, rest + n)  # a negative difference wraps around to a huge number


def _shifted(
    half: NDArray[np.uint64], words: NDArray[np.uint64], n: NDArray[np.uint64]
) -> NDArray[np.uint64]:
    """Return ``(half + words) mod n`` with a single division; half is in ``[0, n)``."""
    total = half + words % n
    return np.minimum(total, total - n)  # a negative difference wraps around to a huge number
