"""Rows that are nearly the same as another row or an eval query, and how the report shows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.inspection.doctor.results.findings import (
    MOST_EXAMPLES,
    Finding,
    beginning,
    finding,
)
from llm_embedder_data.inspection.locations import located
from llm_embedder_data.rows.eval_sets import EvalSet
from llm_embedder_data.rows.train_set import TrainSet

_SHOWN = 70  # characters of each of two queries


@dataclass(frozen=True, slots=True)
class NearMatches:
    """Rows of a training set, each with a match: a row or eval query that is nearly the same.

    Attributes:
        rows: ``[k]`` int64, row numbers, ascending.
        matches: (dataset, row number) of each row's match.
        similarities: ``[k]`` float64, Jaccard similarity of each row and its match.
    """

    rows: NDArray[np.int64]
    matches: list[tuple[str, int]]
    similarities: NDArray[np.float64]


def near_finding(
    train_set: TrainSet,
    near: NearMatches,
    datasets: Mapping[str, TrainSet] | Mapping[str, EvalSet],
) -> Finding:
    """Return a finding that shows the query of each row beside the query and line of its match.

    Args:
        train_set: the training set of the rows.
        near: the rows, with their matches.
        datasets: the datasets of the matches, by name.
    """
    shown = near.rows[:MOST_EXAMPLES]
    texts = []
    for row, (name, match), similarity in zip(
        shown.tolist(), near.matches, near.similarities, strict=False
    ):
        [location] = located(datasets[name], [match])
        line = location.record if location.line is None else location.line
        query, query_of_match = _query(train_set, row), _query(datasets[name], match)
        texts.append(
            f"{beginning(query, _SHOWN)} ~ {similarity:.2f} {Path(location.file).name}:{line} "
            f"{beginning(query_of_match, _SHOWN)}"
        )
    return finding(train_set, near.rows, texts)


def _query(dataset: TrainSet | EvalSet, row: int) -> str:
    query: str = dataset.tables(["query"]).columns([row])["query"][0]
    return query
