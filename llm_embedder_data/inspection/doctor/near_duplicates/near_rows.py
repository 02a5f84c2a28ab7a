"""Finds training rows that are nearly another row, of the same or another training set.

MinHash chooses the pairs to compare. Pairs match if their exact Jaccard similarity is high enough.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.core.hashing import mix
from llm_embedder_data.inspection.doctor.checks.row_fingerprints import RowFingerprints
from llm_embedder_data.inspection.doctor.near_duplicates.min_hashes import BandKeys
from llm_embedder_data.inspection.doctor.near_duplicates.near_matches import NearMatches
from llm_embedder_data.inspection.doctor.near_duplicates.row_texts import (
    RowTexts,
    is_of_positive,
    texts_of_rows,
)
from llm_embedder_data.inspection.doctor.near_duplicates.same_keys import pairs_with_same_key
from llm_embedder_data.inspection.doctor.near_duplicates.shingles import distinct, jaccard_from
from llm_embedder_data.rows.train_set import TrainSet

_NO_MATCH = -1
_BLOCK_PAIRS = 4096  # pairs that are compared at a time, to bound the memory of their texts


def rows_near_rows(
    train_sets: Mapping[str, TrainSet],
    fingerprints: Mapping[str, RowFingerprints],
    threshold: float,
) -> dict[str, NearMatches]:
    """Return the rows whose query and positives are nearly those of another row, by training set.

    Two rows with the same passage and different questions do not match.

    Args:
        train_sets: training sets by name; the other row may be in any of them.
        fingerprints: fingerprints of the training sets, by name.
        threshold: the lowest Jaccard similarity at which texts count as near-duplicates.
    """
    all_rows = _AllRows(train_sets, fingerprints)
    n = len(all_rows)
    match, similarity = np.full(n, _NO_MATCH), np.ones(n)
    # Of equal rows, only the first is compared with others. The repeats match the first row, and it
    # matches one of them.
    _, first, group = np.unique(all_rows.identity, return_index=True, return_inverse=True)
    repeats = np.setdiff1d(np.arange(n), first)
    match[repeats] = first[group[repeats]]
    match[first[group[repeats]]] = repeats
    compared = np.sort(first)
    band_keys = BandKeys(threshold)
    keys = np.concatenate([band_keys(*block.shingle_sets()) for block in all_rows.texts(compared)])
    pairs = pairs_with_same_key(keys, lambda: match[compared] != _NO_MATCH, _BLOCK_PAIRS)
    for lower, higher in pairs:
        lower, higher = compared[lower], compared[higher]
        needed = np.unique(np.concatenate([lower, higher]))
        blocks = [distinct(*block.shingle_sets()) for block in all_rows.texts(needed)]
        sets = dict(zip(needed.tolist(), chain.from_iterable(blocks), strict=True))
        for a, b in zip(lower.tolist(), higher.tolist(), strict=True):
            if match[a] != _NO_MATCH and match[b] != _NO_MATCH:
                continue
            similarity_of_pair = _similarity_of_rows(sets[a], sets[b], threshold)
            for row, other in ((a, b), (b, a)):
                if similarity_of_pair and match[row] == _NO_MATCH:
                    match[row], similarity[row] = other, similarity_of_pair
    return all_rows.by_set(match, similarity)


# --------------------------------------------------------------------------------------------------


def _similarity_of_rows(a: NDArray[np.uint64], b: NDArray[np.uint64], threshold: float) -> float:
    """Return the similarity of two rows' queries or of their positives, whichever is lower.

    Args:
        a: ``[i]`` uint64, the set of shingles of a row.
        b: ``[j]`` uint64, the set of shingles of the other row.
        threshold: if a similarity is below it, 0 is returned; above 0.
    """
    of_positive_a, of_positive_b = is_of_positive(a), is_of_positive(b)
    queries = jaccard_from(threshold, a[~of_positive_a], b[~of_positive_b])
    if not queries:
        return 0.0
    return min(queries, jaccard_from(threshold, a[of_positive_a], b[of_positive_b]))


class _AllRows:
    """The kept rows of all training sets, numbered from 0 to n - 1.

    Attributes:
        identity: ``[n]`` uint64, equal for rows with the same query and the same positives.
    """

    def __init__(
        self,
        train_sets: Mapping[str, TrainSet],
        fingerprints: Mapping[str, RowFingerprints],
    ) -> None:
        self._train_sets = list(train_sets.values())
        self._names = list(train_sets)
        parts = [fingerprints[name] for name in self._names]
        self._set = np.repeat(np.arange(len(parts)), [len(part.rows) for part in parts])
        self._rows = np.concatenate([part.rows for part in parts])
        self.identity = np.concatenate([mix(part.query + mix(part.positives())) for part in parts])

    def __len__(self) -> int:
        return len(self._rows)

    def texts(self, numbers: NDArray[np.int64]) -> Iterator[RowTexts]:
        """Yield the texts of some rows in order, in blocks.

        Args:
            numbers: ``[k]`` int64, ascending.
        """
        for number, train_set in enumerate(self._train_sets):
            of_set = numbers[self._set[numbers] == number]
            for _, texts in texts_of_rows(train_set, self._rows[of_set]):
                yield texts

    def by_set(
        self, match: NDArray[np.int64], similarity: NDArray[np.float64]
    ) -> dict[str, NearMatches]:
        """Return the rows that have a match, by training set.

        Args:
            match: ``[n]`` int64, the number of the row that each row matches, or -1.
            similarity: ``[n]`` float64, the similarity of each row and its match.
        """
        found = {}
        for number, name in enumerate(self._names):
            matched = np.flatnonzero((self._set == number) & (match != _NO_MATCH))
            matches = [
                (self._names[self._set[other]], int(self._rows[other])) for other in match[matched]
            ]
            found[name] = NearMatches(self._rows[matched], matches, similarity[matched])
        return found
