"""Keeps the rows that a fit began with, when their negatives are exchanged between epochs.

An exchange does not change the rows that are trained on, so the plan does not change either. A row
that has no negative left is trained with in-batch negatives only.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from llm_embedder_data.rows.train_set import TokenRows, TrainSet


def with_rows_of(train_set: TrainSet, begun: TrainSet) -> TrainSet:
    """Return a training set, restricted to the rows with which the fit began.

    Args:
        train_set: the training set with new negatives, and all rows that may be trained on.
        begun: the training set of the same source with which the fit began.
    """
    positions = np.searchsorted(train_set.kept, begun.kept)
    within = np.minimum(positions, max(len(train_set.kept) - 1, 0))
    assert np.array_equal(train_set.kept[within], begun.kept), "a row that was kept is dropped"
    return replace(
        train_set,
        kept=begun.kept,
        dropped=begun.dropped,
        token_rows=TokenRows(train_set.kept, positions, train_set.n_scored),
    )
