"""Finds training rows with a text that is nearly an eval query.

MinHash chooses the pairs to compare. Pairs match if their exact Jaccard similarity is high enough.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from llm_embedder_data.inspection.doctor.near_duplicates.min_hashes import BandKeys
from llm_embedder_data.inspection.doctor.near_duplicates.near_matches import NearMatches
from llm_embedder_data.inspection.doctor.near_duplicates.row_texts import texts_of_rows
from llm_embedder_data.inspection.doctor.near_duplicates.same_keys import SameKeys
from llm_embedder_data.inspection.doctor.near_duplicates.shingles import (
    distinct,
    jaccard_from,
    shingles,
)
from llm_embedder_data.inspection.doctor.texts.flat_texts import FlatTexts
from llm_embedder_data.inspection.doctor.texts.kept_rows import texts_of_queries
from llm_embedder_data.inspection.doctor.texts.normal_texts import normal_texts
from llm_embedder_data.rows.eval_sets import EvalSet
from llm_embedder_data.rows.train_set import TrainSet


class _Match(NamedTuple):
    """An eval query that is nearly the same as a text."""

    similarity: float
    query: tuple[str, int]  # eval set and row number


def rows_near_queries(
    train_sets: Mapping[str, TrainSet], eval_sets: Mapping[str, EvalSet], threshold: float
) -> dict[str, NearMatches]:
    """Return the rows whose query or a positive is nearly an eval query, by training set.

    Args:
        train_sets: training sets by name.
        eval_sets: eval sets by name.
        threshold: the lowest Jaccard similarity at which texts count as near-duplicates.
    """
    queries = _EvalQueries(eval_sets, threshold)
    found = {}
    for name, train_set in train_sets.items():
        best: dict[int, _Match] = {}  # by row number
        for rows, texts in texts_of_rows(train_set) if len(queries) else ():
            matches = queries.best_matches(list(dict.fromkeys(texts.texts)))
            for text, index in zip(texts.texts, texts.row.tolist(), strict=True):
                if (match := matches.get(text)) is not None:
                    row = int(rows[index])
                    if row not in best or match.similarity > best[row].similarity:
                        best[row] = match
        ascending = sorted(best)
        found[name] = NearMatches(
            np.array(ascending, np.int64),
            [best[row].query for row in ascending],
            np.array([best[row].similarity for row in ascending]),
        )
    return found


# --------------------------------------------------------------------------------------------------


class _EvalQueries:
    """An index of the queries of all eval sets, in normal form and each once."""

    def __init__(self, eval_sets: Mapping[str, EvalSet], threshold: float) -> None:
        first_row: dict[str, tuple[str, int]] = {}  # by query: eval set and row number
        for name, eval_set in eval_sets.items():
            normal = normal_texts(FlatTexts.of(texts_of_queries(eval_set)))
            for number, row in enumerate(eval_set.kept.tolist()):
                first_row.setdefault(normal[number], (name, row))
        self._rows = list(first_row.values())
        self._threshold = threshold
        self._band_keys = BandKeys(threshold)
        hashes, bounds = shingles(list(first_row))
        self._sets = distinct(hashes, bounds)
        self._same_keys = SameKeys(self._band_keys(hashes, bounds))

    def __len__(self) -> int:
        return len(self._rows)

    def best_matches(self, texts: list[str]) -> dict[str, _Match]:
        """Return the most similar query of each text that is nearly a query, by text.

        Args:
            texts: in normal form, each once.
        """
        found: dict[str, _Match] = {}
        hashes, bounds = shingles(texts)
        numbers, queries = self._same_keys.pairs(self._band_keys(hashes, bounds))
        for number, query in zip(numbers.tolist(), queries.tolist(), strict=True):
            text, members = texts[number], np.unique(hashes[bounds[number] : bounds[number + 1]])
            similarity = jaccard_from(self._threshold, members, self._sets[query])
            if similarity and (text not in found or similarity > found[text].similarity):
                found[text] = _Match(similarity, self._rows[query])
        return found
