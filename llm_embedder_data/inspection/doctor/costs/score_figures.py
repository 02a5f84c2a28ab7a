"""Statistics of the scores of a training set: how many rows have scores, and their range."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow.compute as pc

from llm_embedder_data.inspection.doctor.texts.kept_rows import tables_of_rows
from llm_embedder_data.rows.selection.row_statistics import statistics_by_block
from llm_embedder_data.rows.train_set import TrainSet


def score_figures(train_set: TrainSet) -> dict[str, Any]:
    """Return statistics of the scores of a training set.

    Returns:
        A dict with the entries

        - ``are_teacher_scores``: False for a miner's scores, which only judge and rank negatives
        - ``rows_with_scores`` and ``rows_without_scores``: numbers of kept rows
        - ``lowest`` and ``highest``: range of the scores of kept rows; None without scores
        - ``rows_with_negative_scores``: number of kept rows with a score below 0
        - ``null_scores`` and ``nan_scores``: number of values that are null, and that are NaN or
          infinite, in the bad rows of native files
        - ``rows_with_incomplete_scores``: number of rows with a value of these kinds; in other
          formats, these rows were read without scores
    """
    kept = np.zeros(len(train_set.rows), bool)
    kept[train_set.kept] = True
    n_scored = n_negative = 0
    lowest, highest = np.inf, -np.inf
    for block, statistics in statistics_by_block(train_set.rows.data.table):
        scored = statistics.scored & kept[block]
        n_scored += int(scored.sum())
        n_negative += int((statistics.lowest[scored] < 0).sum())
        lowest = min(lowest, float(statistics.lowest[scored].min(initial=np.inf)))
        highest = max(highest, float(statistics.highest[scored].max(initial=-np.inf)))
    n_null = n_nan = 0
    n_incomplete = train_set.n_incompletely_scored
    # In native files, a row with a null, NaN or infinite score is a bad row.
    bad = train_set.dropped_rows.get("bad_row", np.zeros(0, np.int64))
    for _, table in tables_of_rows(train_set, ["teacher_scores"], bad):
        for scores in table.column("teacher_scores").drop_null():
            values = scores.values
            of_row = values.null_count, int(pc.sum(pc.invert(pc.is_finite(values))).as_py() or 0)
            n_null, n_nan = n_null + of_row[0], n_nan + of_row[1]
            n_incomplete += any(of_row)
    return {
        "are_teacher_scores": train_set.are_teacher_scores,
        "rows_with_scores": n_scored,
        "rows_without_scores": len(train_set.kept) - n_scored,
        "lowest": lowest if n_scored else None,
        "highest": highest if n_scored else None,
        "rows_with_negative_scores": n_negative,
        "null_scores": n_null,
        "nan_scores": n_nan,
        "rows_with_incomplete_scores": n_incomplete,
    }
