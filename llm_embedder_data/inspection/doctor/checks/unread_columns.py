"""Columns of files that nothing reads, although their names look like those of known columns."""

from __future__ import annotations

from pathlib import Path

from llm_embedder_data.inspection.doctor.results.findings import MOST_EXAMPLES, Example, Finding
from llm_embedder_data.rows.eval_sets import EvalSet
from llm_embedder_data.rows.faults.known_columns import look_alikes
from llm_embedder_data.rows.faults.row_locations import locations_of
from llm_embedder_data.rows.files.first_records import field_names
from llm_embedder_data.rows.sources.native_shape import QID
from llm_embedder_data.rows.train_set import TrainSet

_READ = {"query", "pos", "neg", "history", "teacher_scores", "query_id", "task", "pos_index"}


def check_columns(dataset: TrainSet | EvalSet) -> Finding:
    """Return the columns of a dataset's files that look like known columns and are not read."""
    if locations_of(dataset.rows) is not None:
        return Finding(0)  # the reader of another format writes notes on unread columns itself
    examples = []
    for file in dataset.files:
        if not Path(file).is_file():
            continue  # streamed: the note on it is written when it is indexed
        fields = field_names(file)
        # A file without a query_id has its ids in the other name.
        read = _READ if "query_id" in fields else {*_READ, QID}
        examples += [Example(file, None, name) for name in look_alikes(fields, read)]
    n_columns = len({example.text for example in examples})
    return Finding(n_columns, examples=examples[:MOST_EXAMPLES])
