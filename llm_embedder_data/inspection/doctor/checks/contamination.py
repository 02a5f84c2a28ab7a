"""Finds training rows that contain an eval query: its whole text, or 13 of its words in a row.

Texts are compared in normal form, so that letter case and repeated blanks do not matter.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.inspection.doctor.checks.row_fingerprints import RowFingerprints
from llm_embedder_data.inspection.doctor.texts.flat_texts import FlatTexts
from llm_embedder_data.inspection.doctor.texts.kept_rows import texts_of_queries
from llm_embedder_data.inspection.doctor.texts.normal_texts import normal_texts
from llm_embedder_data.inspection.doctor.texts.word_runs import SearchedRuns
from llm_embedder_data.rows.eval_sets import EvalSet


class EvalQueries:
    """The queries of all eval sets, in the form in which training rows are compared with them.

    Args:
        eval_sets: eval sets by name.

    Attributes:
        fingerprints: ``[q]`` uint64, fingerprints of the queries in normal form, ascending.
        runs: all runs of 13 words of the queries.
    """

    def __init__(self, eval_sets: Mapping[str, EvalSet]) -> None:
        texts = FlatTexts.of(
            query for eval_set in eval_sets.values() for query in texts_of_queries(eval_set)
        )
        normal = normal_texts(texts)
        self.fingerprints = np.unique(normal.fingerprints())
        self.runs = SearchedRuns(normal)


def contaminated_rows(
    fingerprints: Mapping[str, RowFingerprints], eval_queries: EvalQueries
) -> dict[str, NDArray[np.int64]]:
    """Return the numbers of rows whose query or positives contain an eval query, by training set.

    Args:
        fingerprints: fingerprints of the training sets, made with ``searched=eval_queries.runs``.
        eval_queries: the queries to look for.

    Returns:
        {training set: ``[k]`` int64, row numbers, ascending}
    """
    queries = eval_queries.fingerprints
    found = {}
    for name, of_rows in fingerprints.items():
        holds = of_rows.shares_run | np.isin(of_rows.query, queries)
        positive = of_rows.is_positive
        holds[of_rows.row_of_key[positive][np.isin(of_rows.key[positive], queries)]] = True
        found[name] = of_rows.rows[holds]
    return found
