"""MinHash: sets that are alike agree in some band of their signatures, so that few are compared.

Two sets of Jaccard similarity s agree in each place of their signatures with probability s (Broder,
1997), in a band of r places with s**r, and in one of b bands with 1 - (1 - s**r)**b.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.core.hashing import mix

LOWEST = 0.7  # below it, bands are so short that any two long texts of a language agree in one

_N_PLACES = 128
_SEED = 42  # of the signatures, which are thus the same in every run
_MOST_MISSED = 0.02  # of the pairs at the threshold itself; of those above it, far less


def check_near_duplicates(threshold: Any) -> float | None:
    """The threshold, checked; the package too, so that nothing is read in vain.

    Raises:
        ConfigError: it is neither None nor a Jaccard similarity, or the package is missing.
    """
    if threshold is None:
        return None
    is_number = isinstance(threshold, int | float) and not isinstance(threshold, bool)
    if not is_number or not LOWEST <= threshold <= 1:
        raise ConfigError(
            f"near_duplicates={threshold!r}: expected the least Jaccard similarity of texts that "
            f"are nearly the same, from {LOWEST} to 1 (0.8 is usual), or null to look for none"
        )
    _signatures_class()
    return float(threshold)


class BandKeys:
    """Gives sets a key for each band of their signatures.

    Args:
        threshold: Jaccard similarity from which two sets are to agree in a key.

    Attributes:
        n_bands: keys of a set.
    """

    def __init__(self, threshold: float) -> None:
        self._signatures = _signatures_class()
        self._n_rows = max(
            rows
            for rows in range(1, _N_PLACES + 1)
            if rows == 1 or (1 - threshold**rows) ** (_N_PLACES // rows) <= _MOST_MISSED
        )
        self.n_bands = _N_PLACES // self._n_rows

    def __call__(self, hashes: NDArray[np.uint64], bounds: NDArray[np.int64]) -> NDArray[np.uint64]:
        """The keys, ``[n, n_bands]`` uint64.

        Args:
            hashes: ``[s]`` uint64, the members of all sets, also more than once.
            bounds: ``[n+1]`` int64, where each set's members begin.
        """
        made = self._signatures.digest_matrix_from_flat_token_hashes(
            np.ascontiguousarray(hashes), bounds.astype(np.uint64), _N_PLACES, _SEED
        )
        places = np.array(made.to_rows(), np.uint64).reshape(-1, _N_PLACES)
        keys = np.empty((len(places), self.n_bands), np.uint64)
        for band in range(self.n_bands):
            key = np.full(len(places), band, np.uint64)
            for place in range(band * self._n_rows, (band + 1) * self._n_rows):
                key = mix(key + places[:, place])
            keys[:, band] = key
        return keys


def _signatures_class() -> Any:
    try:
        from rensa import RMinHash
    except ImportError:
        raise ConfigError(
            'near_duplicates needs the package rensa (pip install "llm_embedder_data'
            '[near-duplicates]")'
        ) from None
    return RMinHash
