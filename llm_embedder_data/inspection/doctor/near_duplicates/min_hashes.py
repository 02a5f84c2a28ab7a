"""MinHash: gives each set some keys, such that two similar sets nearly always have one in common.

A signature of a set is 128 hashes. Two sets of Jaccard similarity s have the same hash at a
position with probability s (Broder, 1997). A band is r neighbouring positions; its key is a hash of
them. Two sets have the same key in a band with probability s**r, and in at least one of b bands
with probability 1 - (1 - s**r)**b. So only sets with a key in common need to be compared.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.core.hashing import mix

_N_HASHES = 128  # of a signature
_SEED = 42  # fixed, so that signatures are the same in every run
# The largest share of pairs that may be missed if their similarity is exactly the threshold. Of
# pairs that are more similar, far fewer are missed.
_MOST_MISSED = 0.02


class BandKeys:
    """Gives each set a key for each band of its signature.

    Args:
        threshold: the lowest Jaccard similarity at which two sets should have a key in common.

    Attributes:
        n_bands: number of keys of a set.

    Raises:
        ConfigError: the package ``rensa`` is not installed.
    """

    def __init__(self, threshold: float) -> None:
        self._minhash = minhash_class()
        # The longest bands that miss few enough pairs: longer bands mean fewer comparisons.
        self._band_length = max(
            length
            for length in range(1, _N_HASHES + 1)
            if length == 1 or (1 - threshold**length) ** (_N_HASHES // length) <= _MOST_MISSED
        )
        self.n_bands = _N_HASHES // self._band_length

    def __call__(self, hashes: NDArray[np.uint64], bounds: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Return the keys of sets, ``[n, n_bands]`` uint64.

        Args:
            hashes: ``[s]`` uint64, the members of all sets, set after set; members may repeat.
            bounds: ``[n+1]`` int64, where the members of each set begin.
        """
        matrix = self._minhash.digest_matrix_from_flat_token_hashes(
            np.ascontiguousarray(hashes), bounds.astype(np.uint64), _N_HASHES, _SEED
        )
        signatures = np.array(matrix.to_rows(), np.uint64).reshape(-1, _N_HASHES)
        keys = np.empty((len(signatures), self.n_bands), np.uint64)
        for band in range(self.n_bands):
            key = np.full(len(signatures), band, np.uint64)
            for k in range(band * self._band_length, (band + 1) * self._band_length):
                key = mix(key + signatures[:, k])
            keys[:, band] = key
        return keys


def minhash_class() -> Any:
    """Return the class of the package ``rensa`` that makes signatures.

    Raises:
        ConfigError: the package is not installed.
    """
    try:
        from rensa import RMinHash
    except ImportError:
        raise ConfigError(
            'near_duplicates needs the package rensa (pip install "llm_embedder_data'
            '[near-duplicates]")'
        ) from None
    return RMinHash
