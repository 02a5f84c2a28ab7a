"""What is nearly the same: findings in training rows, each shown with its partner."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from llm_embedder_data.inspection.doctor.findings import (
    MOST_EXAMPLES,
    Check,
    Finding,
    finding,
)
from llm_embedder_data.inspection.doctor.near_partners import Near
from llm_embedder_data.inspection.doctor.near_queries import near_contamination
from llm_embedder_data.inspection.doctor.near_rows import near_rows
from llm_embedder_data.inspection.doctor.train_checks import RowPrints
from llm_embedder_data.inspection.locations import located
from llm_embedder_data.rows.eval_sets import EvalSet
from llm_embedder_data.rows.train_sets import TrainSet

_SHOWN = 70  # characters of each of two texts


def near_findings(
    train_sets: Mapping[str, TrainSet],
    eval_sets: Mapping[str, EvalSet],
    prints: Mapping[str, RowPrints],
    threshold: float,
) -> dict[str, dict[Check, Finding]]:
    """What is found in each training set, by check.

    Args:
        train_sets: by name, at least one.
        eval_sets: by name.
        prints: of the training sets.
        threshold: Jaccard similarity from which texts are nearly the same.
    """
    contaminated = near_contamination(train_sets, eval_sets, threshold)
    repeated = near_rows(train_sets, prints, threshold)
    return {
        name: {
            "near_contamination": _finding(train_set, contaminated[name], eval_sets),
            "near_duplicate_rows": _finding(train_set, repeated[name], train_sets),
        }
        for name, train_set in train_sets.items()
    }


# --------------------------------------------------------------------------------------------------


def _finding(
    train_set: TrainSet, near: Near, others: Mapping[str, TrainSet] | Mapping[str, EvalSet]
) -> Finding:
    """A finding that shows, with each row's query, its partner and where that stands."""
    shown = near.rows[:MOST_EXAMPLES]
    texts = []
    for row, (name, other), similarity in zip(
        shown.tolist(), near.partners, near.similarities, strict=False
    ):
        [at] = located(others[name], [other])
        line = at.record if at.line is None else at.line
        own, its = _query(train_set, row), _query(others[name], other)
        place = f"{Path(at.file).name}:{line}"
        texts.append(f"{_beginning(own)} ~ {similarity:.2f} {place} {_beginning(its)}")
    return finding(train_set, near.rows, texts)


def _query(dataset: TrainSet | EvalSet, row: int) -> str:
    query: str = dataset.tables(["query"]).columns([row])["query"][0]
    return query


def _beginning(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
