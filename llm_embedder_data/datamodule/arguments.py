"""What the data module's arguments may be, and which of them a task's training follows."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal

from omegaconf import OmegaConf
from transformers import PreTrainedTokenizerBase

from llm_embedder_data.batches.plan.epoch_plan import OrganizeMethod, Remainder, SmallDatasets
from llm_embedder_data.batches.tokens.model_inputs import Layout
from llm_embedder_data.config.recipe_rules import is_finite_number
from llm_embedder_data.config.recipes import (
    NegativeStrategy,
    NormalizeScores,
    PositiveStrategy,
    TaskSettings,
)
from llm_embedder_data.core.errors import ConfigError, check_choice
from llm_embedder_data.datamodule.checkpoint_state import OnOtherGlobalBatch
from llm_embedder_data.rows.key_templates import template_fields
from llm_embedder_data.rows.reading_settings import OnBadRow
from llm_embedder_data.rows.schema.evaluation import EvalMethod
from llm_embedder_data.rows.train_settings import FIRST_ELSE_TEACHER, OnNoNegatives, TrainSettings

Tokenize = Literal["on-the-fly", "cached"]

_CHOICES: dict[str, Any] = {
    "organize_method": OrganizeMethod,
    "remainder": Remainder,
    "small_datasets": SmallDatasets,
    "layout": Layout,
    "tokenize": Tokenize,
    "eval_method": EvalMethod,
    "on_bad_row": OnBadRow,
    "on_no_negatives": OnNoNegatives,
    "on_other_global_batch": OnOtherGlobalBatch,
}

# Choices that are the recipe's where they are null.
_CHOICES_OR_NULL: dict[str, Any] = {
    "select_positive": PositiveStrategy,
    "select_negative": NegativeStrategy,
    "normalize_scores": NormalizeScores,
}

# The least value of each whole number.
_WHOLE = {
    "train_group_size": 1,
    "batch_size": 1,
    "length_window": 2,
    "seed": 0,
    "query_max_length": 1,
    "key_max_length": 1,
    "eval_batch_size": 1,
    "max_sample_num": 1,
    "pad_to_multiple_of": 1,
    "num_workers": 0,
    "chunk_size": 1,
    "prefetch_factor": 1,
}
_NUMBERS = ("teacher_scores_min", "teacher_scores_margin")
_FLAGS = (
    "add_instruction",
    "use_train_config",
    "stable_distill",
    "cross",
    "unique_keys",
    "pin_memory",
)

# What else an argument may be.
_OR_NULL = (
    "max_sample_num",
    "length_window",
    "pad_to_multiple_of",
    "stable_distill",
    *_NUMBERS,
)
_OR_AUTO = ("num_workers", "prefetch_factor", "pin_memory")

# Arguments that a recipe has for each task too. None stands for "not given"; any other value wins.
_PER_TASK = (
    "select_positive",
    "select_negative",
    "teacher_scores_min",
    "teacher_scores_margin",
    "max_sample_num",
    "stable_distill",
    "normalize_scores",
)


def plain(value: Any) -> Any:
    """Hydra's containers as plain Python, which checkpoints load with weights_only."""
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def check_arguments(arguments: Mapping[str, Any]) -> None:
    """Refuse what cannot be used.

    Raises:
        ConfigError: naming the argument, its value and what is allowed.
    """
    for name, choices in _CHOICES.items():
        check_choice(arguments[name], choices, f"data.{name}")
    for name, choices in _CHOICES_OR_NULL.items():
        if arguments[name] is not None:
            check_choice(arguments[name], choices, f"data.{name}")
    for name in _WHOLE:
        check_whole(name, arguments[name])
    for name in _NUMBERS:
        _check(arguments, name, is_finite_number(arguments[name]), "a number")
    for name in _FLAGS:
        _check(arguments, name, isinstance(arguments[name], bool), "true or false")
    known = isinstance(arguments["tokenizer"], str | os.PathLike | PreTrainedTokenizerBase)
    _check(arguments, "tokenizer", known, "a name, a path, or a tokenizer")
    _check(arguments, "default_task", isinstance(arguments["default_task"], str), "a task's name")
    template_fields(arguments["key_template"])


def check_whole(name: str, value: Any) -> None:
    """Refuse what is no whole number, or too small a one for the argument of that name.

    Raises:
        ConfigError: naming the argument, its value and what is allowed.
    """
    least = _WHOLE[name]
    whole = isinstance(value, int) and not isinstance(value, bool) and value >= least
    _check({name: value}, name, whole, f"a whole number of at least {least}")


def train_settings(arguments: Mapping[str, Any], recipe: TaskSettings) -> TrainSettings:
    """How a task's rows are chosen: arguments that were given, then the recipe, then defaults.

    Args:
        arguments: of the data module; None for those that were not given.
        recipe: settings of the task.
    """
    asked = {name: arguments[name] for name in _PER_TASK if arguments[name] is not None}
    by_recipe = {name: value for name in _PER_TASK if (value := getattr(recipe, name)) is not None}
    defaults = {"select_positive": FIRST_ELSE_TEACHER}
    return TrainSettings(**defaults | by_recipe | asked, asked=frozenset(asked))


def _check(arguments: Mapping[str, Any], name: str, good: bool, expected: str) -> None:
    value = arguments[name]
    other: list[Any] = [None] * (name in _OR_NULL) + ["auto"] * (name in _OR_AUTO)
    if good or any(value is one or value == one for one in other):
        return
    allowed = ", or ".join([expected, *("null" if one is None else one for one in other)])
    raise ConfigError(f"data.{name}={value!r}: expected {allowed}")
