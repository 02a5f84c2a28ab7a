"""Rows that are nearly the same as another row or an eval query, and their finding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.inspection.doctor.results.findings import (
    MOST_EXAMPLES,
    Finding,
    examples_at,
    finding,
)
from llm_embedder_data.rows.eval_sets import EvalSet
from llm_embedder_data.rows.train_set import TrainSet


@dataclass(frozen=True, slots=True)
class NearMatches:
    """Rows of a training set, each with a match: a row or eval query that is nearly the same.

    Attributes:
        rows: ``[k]`` int64, row numbers, ascending.
        matches: (name of the dataset, row number) of each row's match, k of them.
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
    """Return a finding whose examples show the query of a row, and the query and line of its match.

    Args:
        train_set: the training set of the rows.
        near: the rows, with their matches.
        datasets: the datasets of the matches, by name.
    """
    shown = near.rows[:MOST_EXAMPLES]
    found = finding(train_set, near.rows)
    for number, (name, match) in enumerate(near.matches[: len(shown)]):
        dataset = datasets[name]
        queries = dataset.tables(["query"]).columns([match])["query"]
        [example] = examples_at(dataset, np.array([match], np.int64), queries)
        similarity = round(float(near.similarities[number]), 4)
        found.examples[number] = replace(
            found.examples[number], match=example, similarity=similarity
        )
    return found
