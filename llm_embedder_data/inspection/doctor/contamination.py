"""Training rows that hold the text of an eval query: equal when normalised, or 13 words of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.inspection.doctor.flat_texts import FlatTexts
from llm_embedder_data.inspection.doctor.normal_texts import normal_texts
from llm_embedder_data.inspection.doctor.train_checks import RowPrints
from llm_embedder_data.inspection.doctor.word_runs import SearchedRuns
from llm_embedder_data.rows.eval_sets import EvalSet

_ROWS_AT_ONCE = 8192


class EvalQueries:
    """The queries of all eval sets, as training rows are compared with them.

    Args:
        eval_sets: by name.

    Attributes:
        prints: uint64, ascending, of the normalised queries.
        runs: of 13 words of a query.
    """

    def __init__(self, eval_sets: Mapping[str, EvalSet]) -> None:
        texts = FlatTexts.of(text for one in eval_sets.values() for text in query_texts(one))
        normal = normal_texts(texts)
        self.prints = np.unique(normal.fingerprints())
        self.runs = SearchedRuns(normal)


def contaminated_rows(
    prints: Mapping[str, RowPrints], eval_queries: EvalQueries
) -> dict[str, NDArray[np.int64]]:
    """The training rows that hold an eval query in their query or a positive, by set.

    Args:
        prints: of the training sets, in which the queries' runs were searched.
        eval_queries: that are looked for; without any nothing is found.
    """
    known = eval_queries.prints
    found = {}
    for name, one in prints.items():
        hit = one.shares_run | np.isin(one.query, known)
        positive = one.is_positive
        hit[one.row_of_key[positive][np.isin(one.key[positive], known)]] = True
        found[name] = one.rows[hit]
    return found


def query_texts(eval_set: EvalSet) -> Iterator[str]:
    """The queries of an eval set's kept rows."""
    for start in range(0, len(eval_set.kept), _ROWS_AT_ONCE):
        rows = eval_set.kept[start : start + _ROWS_AT_ONCE].tolist()
        yield from eval_set.rows[rows]["query"]
