"""Checks of the data module's settings, one by one, before anything is read."""

from __future__ import annotations

import os
from typing import Any

from transformers import PreTrainedTokenizerBase

from llm_embedder_data.batches.plan.epoch_plan import OrganizeMethod, Remainder, SmallDatasets
from llm_embedder_data.batches.plan.mixing import Mixing
from llm_embedder_data.batches.tokens.model_inputs import Layout
from llm_embedder_data.config.negative_limits import LIMIT_RULES
from llm_embedder_data.config.recipe_rules import LARGEST_BATCH, check_value, is_finite_number
from llm_embedder_data.config.recipes import NegativeStrategy, NormalizeScores, PositiveStrategy
from llm_embedder_data.core.addresses import check_on_this_machine
from llm_embedder_data.core.errors import ConfigError, check_choice
from llm_embedder_data.datamodule.settings.settings import (
    DataSettings,
    OnOtherGlobalBatch,
    Tokenize,
)
from llm_embedder_data.rows.schema.evaluation import EvalMethod
from llm_embedder_data.rows.selection.train_settings import OnNoNegatives
from llm_embedder_data.rows.settings.key_templates import template_fields
from llm_embedder_data.rows.settings.reading_settings import OnBadRow

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

# Choices that may be null, which leaves them to the recipe.
_CHOICES_OR_NULL: dict[str, Any] = {
    "select_positive": PositiveStrategy,
    "select_negative": NegativeStrategy,
    "normalize_scores": NormalizeScores,
}

# The settings that are whole numbers, with their smallest allowed values.
_WHOLE = {
    "train_group_size": 1,
    "batch_size": 1,
    "length_window": 2,
    "shuffle_window": 16,
    "seed": 0,
    "query_max_length": 1,
    "key_max_length": 1,
    "eval_batch_size": 1,
    "eval_corpus_sample": 0,
    "max_sample_num": 1,
    "pad_to_multiple_of": 1,
    "num_workers": 0,
    "chunk_size": 1,
    "prefetch_factor": 1,
    "stream_cache_mib": 1,
}

# Whole numbers that count rows, keys or tokens of a batch, or batches.
_OF_BATCHES = (
    "query_max_length",
    "key_max_length",
    "pad_to_multiple_of",
    "train_group_size",
    "batch_size",
    "length_window",
    "shuffle_window",
    "eval_batch_size",
    "chunk_size",
)
_NUMBERS = ("teacher_scores_min", "teacher_scores_margin")
_FLAGS = (
    "add_instruction",
    "use_train_config",
    "stable_distill",
    "no_duplicates",
    "cross",
    "unique_keys",
    "pin_memory",
)

# Settings that may also be null, and settings that may also be the word auto.
_OR_NULL = (
    "max_sample_num",
    "eval_corpus_sample",
    "length_window",
    "shuffle_window",
    "pad_to_multiple_of",
    "stable_distill",
    "cache_dir",
    "data_root",
    *_NUMBERS,
)
_OR_AUTO = ("num_workers", "prefetch_factor", "pin_memory")


def check_settings(settings: DataSettings) -> None:
    """Check that all settings have allowed values.

    Raises:
        ConfigError: a setting does not; the message has its name, its value and what is allowed.
    """
    for name, choices in _CHOICES.items():
        check_choice(getattr(settings, name), choices, f"data.{name}")
    for name, choices in _CHOICES_OR_NULL.items():
        if getattr(settings, name) is not None:
            check_choice(getattr(settings, name), choices, f"data.{name}")
    for name in _WHOLE:
        check_whole(name, getattr(settings, name))
    for name in _NUMBERS:
        value = getattr(settings, name)
        _check(name, value, is_finite_number(value), "a number")
    for name, rule in LIMIT_RULES.items():
        if getattr(settings, name) is not None:
            check_value(getattr(settings, name), rule, f"data.{name}", "null for the recipe's")
    for name in _FLAGS:
        value = getattr(settings, name)
        _check(name, value, isinstance(value, bool), "true or false")
    tokenizer, task = settings.tokenizer, settings.default_task
    known = isinstance(tokenizer, str | os.PathLike | PreTrainedTokenizerBase)
    _check("tokenizer", tokenizer, known, "a name, a path, or a tokenizer")
    _check("default_task", task, isinstance(task, str), "a task's name")
    for name in ("cache_dir", "data_root"):
        value = getattr(settings, name)
        is_path = isinstance(value, str | os.PathLike) and bool(os.fspath(value))
        _check(name, value, is_path, "the path of a folder")
    check_on_this_machine("data.cache_dir", settings.cache_dir)
    template_fields(settings.key_template)
    Mixing.of(settings.mixing)


def check_whole(name: str, value: Any) -> None:
    """Check that a value is a whole number, and within the limits of the setting.

    Raises:
        ConfigError: it is not; the message has the setting, its value and what is allowed.
    """
    least = _WHOLE[name]
    whole = isinstance(value, int) and not isinstance(value, bool) and value >= least
    _check(name, value, whole, f"a whole number of at least {least}")
    if name in _OF_BATCHES and isinstance(value, int):
        _check(name, value, value <= LARGEST_BATCH, f"a whole number of at most {LARGEST_BATCH:,}")


def _check(name: str, value: Any, is_good: bool, expected: str) -> None:
    also_allowed: list[Any] = [None] * (name in _OR_NULL) + ["auto"] * (name in _OR_AUTO)
    if is_good or any(value is word or value == word for word in also_allowed):
        return
    words = ["null" if word is None else word for word in also_allowed]
    raise ConfigError(f"data.{name}={value!r}: expected {', or '.join([expected, *words])}")
