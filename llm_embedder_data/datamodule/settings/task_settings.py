"""How a task is trained: the only place where the user's settings and the recipe's are merged."""

from __future__ import annotations

from dataclasses import asdict

from llm_embedder_data.config.negative_limits import LIMITS, normal_limit
from llm_embedder_data.config.recipes import Recipe, TaskSettings
from llm_embedder_data.datamodule.settings.settings import DataSettings
from llm_embedder_data.rows.selection.train_settings import FIRST_ELSE_TEACHER, TrainSettings

# Settings that a recipe may have too, for each task. A value other than None overrides the recipe.
_PER_TASK = (
    "select_positive",
    "select_negative",
    "teacher_scores_min",
    "teacher_scores_margin",
    "max_sample_num",
    "stable_distill",
    "normalize_scores",
)


def row_settings(settings: DataSettings, recipe: Recipe, task: str) -> TrainSettings:
    """Return the settings by which the rows and keys of a task are chosen.

    The user's settings override the recipe's, which override the defaults.
    """
    of_recipe = _of_recipe(settings, recipe, task)
    given = {name: getattr(settings, name) for name in _PER_TASK}
    given = {name: value for name, value in given.items() if value is not None}
    by_recipe = {name: getattr(of_recipe, name) for name in _PER_TASK}
    by_recipe = {name: value for name, value in by_recipe.items() if value is not None}
    defaults = {"select_positive": FIRST_ELSE_TEACHER}
    given_limits = {name: getattr(settings, name) for name in LIMITS}
    given_limits = {name: limit for name, limit in given_limits.items() if limit is not None}
    limits = {name: getattr(of_recipe, name) for name in LIMITS} | given_limits
    limits = {name: normal_limit(limit) for name, limit in limits.items()}
    return TrainSettings(
        **defaults | by_recipe | given,
        limits={name: limit for name, limit in limits.items() if limit is not None},
        asked=frozenset({*given, *given_limits}),
    )


def merged_task_settings(settings: DataSettings, recipe: Recipe, task: str) -> TaskSettings:
    """Return all training settings of a task: those of its rows, and the recipe's for the loss."""
    of_rows = dict.fromkeys(LIMITS) | row_settings(settings, recipe, task).by_name()
    # FIRST_ELSE_TEACHER is no public choice. Which of the two applies is decided row by row, later.
    if of_rows["select_positive"] == FIRST_ELSE_TEACHER:
        of_rows["select_positive"] = "first"
    return TaskSettings(**asdict(_of_recipe(settings, recipe, task)) | of_rows)


def _of_recipe(settings: DataSettings, recipe: Recipe, task: str) -> TaskSettings:
    return recipe.settings(task) if settings.use_train_config else TaskSettings()
