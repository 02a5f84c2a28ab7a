"""Which keys of a global batch are not negatives of a query, because they are masked, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Reason = Literal[
    "padding",
    "known positive of this query",
    "positive of the same query in another row",
    "the positive that the teacher chose",
    "a limit takes it for a positive",
    "in_batch_negatives is off",
]


@dataclass(frozen=True, slots=True)
class GlobalKeys:
    """The keys of all ranks in a step: G keys for each of B queries.

    Attributes:
        key_id: ``[B, G]`` int64, hashes of the keys' texts.
        key_mask: ``[B, G]`` int64, 0 where a key is padding.
        positive_id: ``[B, P]`` int64, hashes of each query's known positives, padded with 0.
        query_text_id: ``[B]`` int64, hashes of the queries' texts.
        in_batch_negatives: whether the keys of other queries are negatives.
    """

    key_id: NDArray[np.int64]
    key_mask: NDArray[np.int64]
    positive_id: NDArray[np.int64]
    query_text_id: NDArray[np.int64]
    in_batch_negatives: bool

    def known(self, query: int) -> NDArray[np.bool_]:
        """Return which keys are known positives of a query, ``[B, G]`` bool.

        The loss leaves them out of the query's negatives, whichever rank they come from. They are
        the positives of its row, and the positives of other rows of the step with the same query.
        """
        same_query = self.query_text_id == self.query_text_id[query]
        positives = np.append(self.positive_id[query], self.key_id[same_query, 0])
        known: NDArray[np.bool_] = np.isin(self.key_id, positives[positives != 0])
        known &= self.key_id != 0
        return known

    def masked(self, query: int) -> NDArray[np.bool_]:
        """Return which keys are masked for a query, ``[B, G]`` bool: False for its positive."""
        out: NDArray[np.bool_] = self.known(query) | (self.key_mask == 0)
        if not self.in_batch_negatives:
            out[np.arange(len(out)) != query] = True
        out[query, 0] = False
        return out

    def n_negatives(self, query: int) -> tuple[int, int]:
        """Return the number of negatives among a query's keys, and among those of other queries."""
        is_negative = ~self.masked(query)
        n_of_query = int(is_negative[query, 1:].sum())
        return n_of_query, int(is_negative.sum()) - n_of_query - 1

    def reason(self, query: int, other: int, slot: int, labelled: NDArray[np.int64]) -> Reason:
        """Return why a key is masked for a query.

        Args:
            query: the query for which the key is masked.
            other: the query that has the key; may be the same.
            slot: position of the key among the keys of ``other``.
            labelled: hashes of the labelled positives of ``query``.
        """
        if not self.key_mask[other, slot]:
            return "padding"
        if other != query and not self.in_batch_negatives:
            return "in_batch_negatives is off"
        key_id = self.key_id[other, slot]
        if key_id in labelled:
            return "known positive of this query"
        if key_id == self.key_id[query, 0]:
            return "the positive that the teacher chose"
        if key_id not in self.positive_id[query]:
            return "positive of the same query in another row"
        return "a limit takes it for a positive"
