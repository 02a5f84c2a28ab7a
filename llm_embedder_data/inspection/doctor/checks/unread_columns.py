"""Columns of files that nothing reads, although their names look like those of known columns."""

from __future__ import annotations

from llm_embedder_data.inspection.doctor.results.findings import MOST_EXAMPLES, Example, Finding
from llm_embedder_data.rows.eval_sets import EvalSet
from llm_embedder_data.rows.train_set import TrainSet


def check_columns(dataset: TrainSet | EvalSet) -> Finding:
    """Return a finding of the columns that the reader of the files reports as not read."""
    examples = [Example(file, None, name) for file, name in dataset.unread]
    n_columns = len({example.text for example in examples})
    return Finding(n_columns, examples=examples[:MOST_EXAMPLES])
