"""How many rows and candidates of a training set each filter and limit leaves."""

from __future__ import annotations

from typing import Any

import numpy as np

from llm_embedder_data.inspection.doctor.costs.negatives_per_row import NegativesPerRow
from llm_embedder_data.inspection.report import left_out_by_limit
from llm_embedder_data.rows.selection.row_statistics import statistics_by_block
from llm_embedder_data.rows.train_set import TrainSet


def selection_effects(train_set: TrainSet, group_size: int) -> dict[str, Any]:
    """Return how much of a training set is left after each setting.

    Args:
        train_set: the training set.
        group_size: the setting ``train_group_size``, keys per query.

    Returns:
        A dict with the entries

        - ``rows_left``: {reason: number of rows left after it}, in the order in which rows are
          dropped
        - ``settings``: the settings in force
        - ``positives``: number of positives of the kept rows
        - ``rows_with_several_positives``: number of kept rows
        - ``rows_left_to_teacher``: number of kept rows without a labelled positive; their positive
          is the candidate that the teacher scores highest
        - ``negatives``: number of hard negatives of the rows that filters keep, without negatives
          whose text is also a positive
        - ``negatives_per_row``: statistics of the hard negatives of the kept rows, before limits;
          see :meth:`~.negatives_per_row.NegativesPerRow.figures`
        - ``negatives_left_out``: {limit: number of negatives}, or {limit: {first epoch: number}}
          for a limit that changes with the epoch
        - ``keys_per_query``: the setting in force for this training set
        - ``rows_short_of_negatives``: number of kept rows that, before limits, have fewer hard
          negatives than a query gets
    """
    table, settings = train_set.rows.data.table, train_set.settings
    kept = np.zeros(len(train_set.rows), bool)
    kept[train_set.kept] = True
    judged = kept.copy()
    if train_set.token_rows is not None:
        judged[train_set.token_rows.numbers] = True
    wanted = train_set.group_size(group_size)
    counts = dict.fromkeys(
        (
            "positives",
            "rows_with_several_positives",
            "rows_left_to_teacher",
            "negatives",
            "rows_short_of_negatives",
        ),
        0,
    )
    per_row = NegativesPerRow()
    for block, statistics in statistics_by_block(table):
        in_block, negatives = kept[block], statistics.negatives_left(settings)
        counts["positives"] += int(statistics.n_pos[in_block].sum())
        counts["rows_with_several_positives"] += int((statistics.n_pos[in_block] > 1).sum())
        counts["rows_left_to_teacher"] += int(statistics.left_to_teacher[in_block].sum())
        counts["negatives"] += int(negatives[judged[block]].sum())
        per_row.add(negatives[in_block])
        counts["rows_short_of_negatives"] += int((negatives[in_block] < wanted - 1).sum())
    rows_left, left = {}, train_set.n_read
    for reason, n_rows in train_set.dropped.items():
        left -= n_rows
        rows_left[reason] = left
    return {
        "rows_left": rows_left,
        "settings": settings.by_name(),
        **counts,
        "negatives_per_row": per_row.figures(),
        "negatives_left_out": left_out_by_limit(train_set),
        "keys_per_query": wanted,
    }
