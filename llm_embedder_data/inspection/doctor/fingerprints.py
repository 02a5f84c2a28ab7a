"""64-bit fingerprints of texts: as they are, and normalised."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xxhash
from numpy.typing import NDArray

from llm_embedder_data.core.normal_form import normal_form

_digest = xxhash.xxh3_64_intdigest


def exact(texts: Sequence[str]) -> NDArray[np.uint64]:
    """Fingerprints of texts as they are, ``[n]`` uint64."""
    return np.array([_digest(text.encode("utf-8", "surrogatepass")) for text in texts], np.uint64)


def normalised(texts: Sequence[str]) -> NDArray[np.uint64]:
    """Fingerprints that are equal where only case or white space differs, ``[n]`` uint64."""
    return np.array(
        [_digest(normal_form(text).encode("utf-8", "surrogatepass")) for text in texts], np.uint64
    )
