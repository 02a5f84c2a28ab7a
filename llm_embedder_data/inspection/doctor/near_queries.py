"""Training rows with a text that is nearly an eval query.

MinHash says which pairs to compare; what is found is then a pair by its exact Jaccard similarity.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from llm_embedder_data.inspection.doctor.contamination import query_texts
from llm_embedder_data.inspection.doctor.flat_texts import FlatTexts
from llm_embedder_data.inspection.doctor.min_hashes import BandKeys
from llm_embedder_data.inspection.doctor.near_partners import Near, if_near
from llm_embedder_data.inspection.doctor.normal_texts import normal_texts
from llm_embedder_data.inspection.doctor.row_texts import texts_of_rows
from llm_embedder_data.inspection.doctor.same_keys import SameKeys
from llm_embedder_data.inspection.doctor.shingles import distinct, shingles
from llm_embedder_data.rows.eval_sets import EvalSet
from llm_embedder_data.rows.train_sets import TrainSet

_Match = tuple[float, tuple[str, int]]  # similarity; dataset and row number of the query


def near_contamination(
    train_sets: Mapping[str, TrainSet], eval_sets: Mapping[str, EvalSet], threshold: float
) -> dict[str, Near]:
    """The training rows of which the query or a positive is nearly an eval query, by set.

    Args:
        train_sets: by name.
        eval_sets: by name.
        threshold: Jaccard similarity from which texts are nearly the same.
    """
    queries = _EvalQueries(eval_sets, threshold)
    found = {}
    for name, train_set in train_sets.items():
        best: dict[int, _Match] = {}
        for rows, texts in texts_of_rows(train_set) if len(queries) else ():
            matches = queries.nearest(list(dict.fromkeys(texts.texts)))
            for text, place in zip(texts.texts, texts.row.tolist(), strict=True):
                if text in matches:
                    row = int(rows[place])
                    best[row] = max(best.get(row, matches[text]), matches[text], key=_similarity)
        ascending = sorted(best)
        found[name] = Near(
            np.array(ascending, np.int64),
            [best[row][1] for row in ascending],
            np.array([best[row][0] for row in ascending]),
        )
    return found


# --------------------------------------------------------------------------------------------------


class _EvalQueries:
    """The queries of some eval sets, each normal form once."""

    def __init__(self, eval_sets: Mapping[str, EvalSet], threshold: float) -> None:
        places: dict[str, tuple[str, int]] = {}
        for name, one in eval_sets.items():
            normal = normal_texts(FlatTexts.of(query_texts(one)))
            for number, row in enumerate(one.kept.tolist()):
                places.setdefault(normal[number], (name, row))
        self._places = list(places.values())
        self._threshold = threshold
        self._band_keys = BandKeys(threshold)
        members = shingles(list(places))
        self._sets = distinct(*members)
        self._same_keys = SameKeys(self._band_keys(*members))

    def __len__(self) -> int:
        return len(self._places)

    def nearest(self, texts: list[str]) -> dict[str, _Match]:
        """Return of texts that are nearly a query the greatest similarity, and that query's place.

        Args:
            texts: in normal form, each once.
        """
        found: dict[str, _Match] = {}
        hashes, bounds = shingles(texts)
        pairs = self._same_keys.pairs(self._band_keys(hashes, bounds))
        for at, query in zip(*(numbers.tolist() for numbers in pairs), strict=True):
            own = np.unique(hashes[bounds[at] : bounds[at + 1]])
            near = if_near(own, self._sets[query], self._threshold)
            if near > found.get(texts[at], (0.0,))[0]:
                found[texts[at]] = (near, self._places[query])
        return found


def _similarity(match: _Match) -> float:
    return match[0]
