"""The training settings in force for a dataset: those that its teacher scores allow."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from llm_embedder_data.rows.row_statistics import statistics_by_block
from llm_embedder_data.rows.source_rows import SourceRows
from llm_embedder_data.rows.task_split import TaskRows
from llm_embedder_data.rows.train_settings import FIRST_ELSE_TEACHER, TrainSettings


def settings_in_force(
    wanted: TrainSettings, read: SourceRows, task_rows: TaskRows
) -> tuple[TrainSettings, list[str]]:
    """Return the settings without those that need scores which the rows lack, and notes on that.

    Raises:
        DataError: the user asked for a setting that needs scores, and rows have none. A setting of
            the recipe is dropped instead.
    """
    wanted = _with_plain_strategy(wanted, read, task_rows)
    needing = wanted.needing_scores()
    if not needing:
        return wanted, []
    unscored = _count_unscored(read, task_rows)
    if not unscored.n_unscored:
        return wanted, []
    name, task = task_rows.name, task_rows.task
    asked = [
        f"{setting}={value!r}" for setting, value in needing.items() if setting in wanted.asked
    ]
    if asked:
        raise read.error(
            unscored.first,
            f"no teacher_scores, which {', '.join(asked)} needs for task {task!r}; "
            f"{unscored.n_unscored} of {unscored.n_rows} rows have none (score the rows, or take "
            "the setting back)",
        )
    if unscored.n_unscored < unscored.n_rows:
        return wanted, [
            f"{unscored.n_unscored} of {unscored.n_rows} rows have no teacher_scores: they take "
            "the first positive and random negatives, and the contrastive loss alone"
        ]
    given_up = ", ".join(f"{setting}={value!r}" for setting, value in needing.items())
    defaults: dict[str, Any] = {setting: getattr(TrainSettings(), setting) for setting in needing}
    return replace(wanted, **defaults), [
        f"dataset {name!r} has no teacher_scores: the recipe's {given_up} for task {task!r} is "
        "ignored, and it is trained with the contrastive loss alone"
    ]


def _with_plain_strategy(
    settings: TrainSettings, read: SourceRows, task_rows: TaskRows
) -> TrainSettings:
    """Return the settings with ``first`` or ``teacher`` for the default, if one serves all rows."""
    if settings.select_positive != FIRST_ELSE_TEACHER:
        return settings
    n_rows = n_left_to_teacher = 0
    for block, statistics in statistics_by_block(read.rows.data.table):
        rows = task_rows.chosen[block] & read.sound[block]
        n_rows += int(rows.sum())
        n_left_to_teacher += int((rows & statistics.left_to_teacher).sum())
    if n_left_to_teacher == 0:
        return replace(settings, select_positive="first")
    return replace(settings, select_positive="teacher") if n_left_to_teacher == n_rows else settings


class _Unscored(NamedTuple):
    first: int  # row number of the first sound row without scores
    n_unscored: int
    n_rows: int  # sound rows, scored or not


def _count_unscored(read: SourceRows, task_rows: TaskRows) -> _Unscored:
    first, n_unscored, n_rows = -1, 0, 0
    for block, statistics in statistics_by_block(read.rows.data.table):
        rows = task_rows.chosen[block] & read.sound[block]
        unscored = np.flatnonzero(rows & ~statistics.scored)
        if len(unscored) and not n_unscored:
            first = block.start + int(unscored[0])
        n_unscored, n_rows = n_unscored + len(unscored), n_rows + int(rows.sum())
    return _Unscored(first, n_unscored, n_rows)
