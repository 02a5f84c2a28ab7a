"""Training rows that are nearly another row, of any training set.

MinHash says which pairs to compare; what is found is then a pair by its exact Jaccard similarity.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.core.hashing import mix
from llm_embedder_data.inspection.doctor.min_hashes import BandKeys
from llm_embedder_data.inspection.doctor.near_partners import Near, if_near
from llm_embedder_data.inspection.doctor.row_texts import RowTexts, texts_of_rows
from llm_embedder_data.inspection.doctor.same_keys import pairs_of_one_key
from llm_embedder_data.inspection.doctor.shingles import distinct
from llm_embedder_data.inspection.doctor.train_checks import RowPrints
from llm_embedder_data.rows.train_sets import TrainSet

_PAIRS_AT_ONCE = 4096


def near_rows(
    train_sets: Mapping[str, TrainSet], prints: Mapping[str, RowPrints], threshold: float
) -> dict[str, Near]:
    """The rows of which both query and positives are nearly those of another row, by set.

    Several questions on one passage are none.

    Args:
        train_sets: by name; the other row may be of any of them.
        prints: of the same sets.
        threshold: Jaccard similarity from which texts are nearly the same.
    """
    every = _AllRows(train_sets, prints)
    # One row stands for all that are equal to it; these have each other.
    _, first, group = np.unique(every.equal, return_index=True, return_inverse=True)
    repeats = np.setdiff1d(np.arange(len(group)), first)
    partner, similarity = np.full(len(group), -1), np.ones(len(group))
    partner[repeats] = first[group[repeats]]
    partner[first[group[repeats]]] = repeats
    members, band_keys = np.sort(first), BandKeys(threshold)
    keys = np.concatenate([band_keys(*one.sets()) for one in every.texts(members)])
    pairs = pairs_of_one_key(keys, lambda: partner[members] >= 0, _PAIRS_AT_ONCE)
    for left, right in pairs:
        left, right = members[left], members[right]
        needed = np.unique(np.concatenate([left, right]))
        parts = [distinct(*one.sets()) for one in every.texts(needed)]
        own = dict(zip(needed.tolist(), chain.from_iterable(parts), strict=True))
        for one, other in zip(left.tolist(), right.tolist(), strict=True):
            is_open = partner[one] < 0 or partner[other] < 0
            near = _if_near_rows(own[one], own[other], threshold) if is_open else 0.0
            for this, that in ((one, other), (other, one)):
                if near and partner[this] < 0:
                    partner[this], similarity[this] = that, near
    return every.by_set(partner, similarity)


# --------------------------------------------------------------------------------------------------


def _if_near_rows(one: NDArray[np.uint64], other: NDArray[np.uint64], threshold: float) -> float:
    """Return the lesser similarity of queries and of positives if it reaches the threshold."""
    odd, others_odd = (one & np.uint64(1)) == 1, (other & np.uint64(1)) == 1
    of_queries = if_near(one[~odd], other[~others_odd], threshold)
    return min(of_queries, if_near(one[odd], other[others_odd], threshold)) if of_queries else 0.0


class _AllRows:
    """The rows of all training sets, numbered through.

    Attributes:
        equal: ``[n]`` uint64, the same for rows of the same query and positives.
    """

    def __init__(self, train_sets: Mapping[str, TrainSet], prints: Mapping[str, RowPrints]) -> None:
        self._train_sets = list(train_sets.values())
        self._names = list(train_sets)
        parts = [prints[name] for name in self._names]
        self._set = np.repeat(np.arange(len(parts)), [len(one.rows) for one in parts])
        self._rows = np.concatenate([one.rows for one in parts])
        self.equal = np.concatenate([mix(one.query + mix(one.positives())) for one in parts])

    def texts(self, of: NDArray[np.int64]) -> Iterator[RowTexts]:
        """Yield the texts of some rows in order, some rows at a time.

        Args:
            of: ``[n]`` int64, ascending numbers of rows.
        """
        for number, train_set in enumerate(self._train_sets):
            own = of[self._set[of] == number]
            for _, texts in texts_of_rows(train_set, self._rows[own]):
                yield texts

    def by_set(
        self, partner: NDArray[np.int64], similarity: NDArray[np.float64]
    ) -> dict[str, Near]:
        """The rows that have a partner, which is not -1, by set."""
        found = {}
        for number, name in enumerate(self._names):
            of = np.flatnonzero((self._set == number) & (partner >= 0))
            places = [(self._names[self._set[at]], int(self._rows[at])) for at in partner[of]]
            found[name] = Near(self._rows[of], places, similarity[of])
        return found
