"""The location of the first row that was dropped for each reason."""

from __future__ import annotations

from typing import Any

from llm_embedder_data.inspection.locations import located
from llm_embedder_data.rows.corpora import Corpus
from llm_embedder_data.rows.eval_sets import EvalSet
from llm_embedder_data.rows.train_set import TrainSet


def first_dropped(dataset: TrainSet | EvalSet | Corpus) -> dict[str, dict[str, Any]]:
    """Return the location of the first row, or record, that was dropped for each reason.

    Returns:
        {reason: {"file", "line"}}, in the order of ``dropped``. As in the examples of findings, the
        line counts from 1; in a file without lines it is the row's number, from 0.
    """
    first = {
        reason: int(numbers[0]) for reason, numbers in dataset.dropped_rows.items() if len(numbers)
    }
    places = {
        reason: (at.file, at.record, at.line)
        for reason, at in zip(first, located(dataset, list(first.values())), strict=True)
    }
    places = {**dataset.first_dropped, **places}
    return {
        reason: {"file": file, "line": record if line is None else line}
        for reason in dataset.dropped
        if reason in places
        for file, record, line in [places[reason]]
    }
