"""Decides which training settings apply to a dataset, depending on its teacher scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from llm_embedder_data.config.negative_limits import Limit
from llm_embedder_data.rows.selection.row_statistics import statistics_by_block
from llm_embedder_data.rows.selection.train_settings import FIRST_ELSE_TEACHER, TrainSettings
from llm_embedder_data.rows.source_rows.source_rows import SourceRows
from llm_embedder_data.rows.source_rows.task_split import TaskRows

# Settings that need the scores of a teacher; a miner's scores are not enough.
_NEED_TEACHER = (
    "select_positive",
    "teacher_scores_min",
    "teacher_scores_margin",
    "stable_distill",
    "normalize_scores",
)


def settings_in_force(
    wanted: TrainSettings, read: SourceRows, task_rows: TaskRows
) -> tuple[TrainSettings, list[str]]:
    """Return the settings without those that need missing scores, and notes on what was dropped.

    Args:
        wanted: the settings of the rows' task.
        read: the rows of the source.
        task_rows: the rows of the task.

    Raises:
        DataError: the user asked for a setting that needs scores, and rows have none. A setting of
            the recipe is dropped instead.
    """
    wanted = _with_plain_strategy(_with_limits_of(wanted, read.source.limits), read, task_rows)
    notes: list[str] = []
    if not read.are_teacher_scores:
        wanted, notes = _without_teacher(wanted, read, task_rows)
    needing = wanted.needing_scores()
    if not needing:
        return wanted, notes
    unscored = _count_unscored(read, task_rows)
    if not unscored.n_unscored:
        return wanted, notes
    name, task = task_rows.name, task_rows.task
    asked = [
        f"{setting}={value!r}" for setting, value in needing.items() if setting in wanted.asked
    ]
    are_limits = needing.keys() <= wanted.limits.keys()
    if are_limits and not unscored.n_negatives:
        # RefreshNegatives mines negatives during training, with scores.
        return wanted, [
            *notes,
            f"no row has a negative yet, so {', '.join(needing)} leaves none out before negatives "
            "are mined",
        ]
    # Missing scores of some rows are normal for a miner, which finds nothing for some queries.
    is_mined = not read.are_teacher_scores and unscored.n_unscored < unscored.n_rows
    if asked and not is_mined:
        mine = "name in negatives: the file that mine writes, which scores them, or " * are_limits
        raise read.error(
            unscored.first,
            f"no teacher_scores, which {', '.join(asked)} needs for task {task!r}; "
            f"{unscored.n_unscored} of {unscored.n_rows} rows have none ({mine}score the rows, or "
            "remove the setting)",
        )
    if unscored.n_unscored < unscored.n_rows:
        count = f"{unscored.n_unscored} of {unscored.n_rows} rows have no teacher_scores"
        if are_limits:
            said = f"{count}: {', '.join(needing)} leaves no negative out in them"
            return wanted, [*notes, said]
        return wanted, [
            *notes,
            f"{count}: they take the first positive and random negatives, and the contrastive loss "
            "alone",
        ]
    given_up = ", ".join(f"{setting}={value!r}" for setting, value in needing.items())
    defaults: dict[str, Any] = {
        setting: value for setting, value in TrainSettings().by_name().items() if setting in needing
    }
    defaults["limits"] = {n: limit for n, limit in wanted.limits.items() if n not in needing}
    return replace(wanted, **defaults), [
        *notes,
        f"dataset {name!r} has no teacher_scores: the recipe's {given_up} for task {task!r} is "
        "ignored, and it is trained with the contrastive loss alone",
    ]


def _without_teacher(
    wanted: TrainSettings, read: SourceRows, task_rows: TaskRows
) -> tuple[TrainSettings, list[str]]:
    """Return the settings without those that need a teacher, and a note on what was dropped.

    The scores of a miner only rank and filter negatives. They are not used to choose a positive, to
    filter rows, or for distillation.

    Raises:
        DataError: the user asked for a setting that needs a teacher.
    """
    plain, values = TrainSettings().by_name(), wanted.by_name()
    needing = {name: values[name] for name in _NEED_TEACHER if values[name] != plain[name]}
    if wanted.select_positive not in ("teacher", "teacher-pos"):
        needing.pop("select_positive", None)
    asked = [f"{name}={value!r}" for name, value in needing.items() if name in wanted.asked]
    if asked:
        raise read.error(
            0,
            f"the scores of dataset {task_rows.name!r} are those of its file of negatives, and "
            f"{', '.join(asked)} needs a teacher's (name the file in scores: too, if its scores "
            "are to teach; or remove the setting)",
        )
    if not needing:
        return wanted, []
    given_up = ", ".join(f"{name}={value!r}" for name, value in needing.items())
    return replace(wanted, **{name: plain[name] for name in needing}), [
        f"the scores of its file of negatives rank and judge negatives only: the recipe's "
        f"{given_up} for task {task_rows.task!r} is ignored (name the file in scores: too, if its "
        "scores are to teach)"
    ]


def _with_limits_of(settings: TrainSettings, limits: Mapping[str, Limit | None]) -> TrainSettings:
    """Return the settings after the source's limits replaced others; None removes a limit."""
    if not limits:
        return settings
    merged = {n: limit for n, limit in ({**settings.limits, **limits}).items() if limit is not None}
    return replace(settings, limits=merged, asked=settings.asked | set(limits))


def _with_plain_strategy(
    settings: TrainSettings, read: SourceRows, task_rows: TaskRows
) -> TrainSettings:
    """Replace the default strategy by ``first`` or ``teacher`` if all rows would use the same."""
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
    first: int  # number of the first sound row without scores
    n_unscored: int
    n_rows: int  # sound rows, scored or not
    n_negatives: int  # of the sound rows


def _count_unscored(read: SourceRows, task_rows: TaskRows) -> _Unscored:
    first, n_unscored, n_rows, n_negatives = -1, 0, 0, 0
    for block, statistics in statistics_by_block(read.rows.data.table):
        rows = task_rows.chosen[block] & read.sound[block]
        unscored = np.flatnonzero(rows & ~statistics.scored)
        if len(unscored) and not n_unscored:
            first = block.start + int(unscored[0])
        n_unscored, n_rows = n_unscored + len(unscored), n_rows + int(rows.sum())
        n_negatives += int(statistics.n_negatives[rows].sum())
    return _Unscored(first, n_unscored, n_rows, n_negatives)
