"""64-bit fingerprints of texts: as they are, and normalised."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import xxhash
from numpy.typing import NDArray

from llm_embedder_data.core.normal_form import normal_form

_digest = xxhash.xxh3_64_intdigest


def exact(texts: Sequence[str]) -> NDArray[np.uint64]:
    """Fingerprints of texts as they are, ``[n]`` uint64."""
    return _digests(text.encode("utf-8", "surrogatepass") for text in texts)


def normalised(texts: Sequence[str]) -> NDArray[np.uint64]:
    """Fingerprints that are equal where only case or white space differs, ``[n]`` uint64."""
    return _digests(normal_form(text).encode("utf-8", "surrogatepass") for text in texts)


def _digests(contents: Iterable[bytes]) -> NDArray[np.uint64]:
    return np.fromiter(map(_digest, contents), np.uint64)
