"""The settings of the loss and the optimizer: defaults, precedence and checks."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from torch import nn

from llm_embedder_data.config.recipe_rules import is_finite_number
from llm_embedder_data.config.recipes import ModelSettings, TaskSettings, without_none
from llm_embedder_data.core.errors import ConfigError

# These suit an encoder that was trained for retrieval before; the measurements are in
# benchmarks/results/defaults.md. At 2e-5 a small encoder learns more of its new task, but its
# results on other data change about twice as much, for better or worse.
DEFAULTS = ModelSettings(
    temperature=0.05,
    learning_rate=1e-5,
    contrastive_weight=1.0,
    distill_weight=0.2,
    teacher_temperature=1.0,
    student_temperature=1.0,
)

# A higher rate suits a cross-encoder: its head is often new, and unlike an embedder it is not used
# on other data.
CROSS_ENCODER_DEFAULTS = DEFAULTS | ModelSettings(learning_rate=2e-5)


@dataclass(frozen=True, slots=True, kw_only=True)
class LossSettings:
    """The loss settings of a task, named like the arguments of ``BiEncoder``."""

    contrastive_weight: float
    distill_weight: float
    teacher_temperature: float
    student_temperature: float
    stable_distill: bool


def merge_loss_settings(
    model: ModelSettings, task: TaskSettings, arguments: ModelSettings
) -> LossSettings:
    """Merge the loss settings of a task: ``arguments`` override ``task``, and ``task`` ``model``.

    Args:
        model: settings for all tasks, with every field set.
        task: settings of the task.
        arguments: the arguments that the user passed to the model.
    """
    merged = without_none(model) | without_none(task) | without_none(arguments)
    merged["stable_distill"] = bool(task.stable_distill)
    return LossSettings(**{field.name: merged[field.name] for field in fields(LossSettings)})


def check_model_arguments(
    arguments: ModelSettings, *, weight_decay: float, warmup_ratio: float, cutoffs: Sequence[int]
) -> None:
    """Check the numbers that the user passed to a model.

    Raises:
        ConfigError: numbers are out of range; the message names all of them.
    """
    faults = []
    for name, value in without_none(arguments).items():
        positive = name.endswith("temperature")
        if not is_finite_number(value) or value < 0 or (positive and value == 0):
            bound = "above 0" if positive else "of at least 0"
            faults.append(f"model.{name}={value!r}: expected a number {bound}")
    if not is_finite_number(weight_decay) or weight_decay < 0:
        faults.append(f"model.weight_decay={weight_decay!r}: expected a number of at least 0")
    if not is_finite_number(warmup_ratio) or not 0 <= warmup_ratio <= 1:
        faults.append(f"model.warmup_ratio={warmup_ratio!r}: expected a number in [0, 1]")
    if not cutoffs or not all(type(k) is int and k >= 1 for k in cutoffs):
        faults.append(f"model.cutoffs={cutoffs!r}: expected one or more integers above 0")
    if arguments.contrastive_weight == 0 == arguments.distill_weight:
        faults.append(
            "model.contrastive_weight=0 and model.distill_weight=0: a query with scores would have "
            "no loss (raise one of them)"
        )
    if faults:
        raise ConfigError("; ".join(faults))


def check_flags(**flags: Any) -> None:
    """Check arguments of a model that are true or false.

    Raises:
        ConfigError: one is neither.
    """
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise ConfigError(f"model.{name}={value!r}: expected true or false")


def plain_tuple(value: Any, name: str) -> tuple[Any, ...]:
    """Return a list that a model was given, such as OmegaConf's, as a tuple.

    Raises:
        ConfigError: it is no list.
    """
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ConfigError(f"model.{name}={value!r}: expected a list of numbers")
    return tuple(value)


def check_encoder(encoder: Any) -> None:
    """Check what a model was given as its encoder.

    Raises:
        ConfigError: it is no name, no path, and no model.
    """
    if not isinstance(encoder, str | os.PathLike | nn.Module):
        raise ConfigError(f"model.encoder={encoder!r}: expected a name, a path, or a model")


def check_embedding_arguments(
    *, mini_batch_size: int | None, false_negative_margin: float | None
) -> None:
    """Check arguments that only a bi-encoder has.

    Raises:
        ConfigError: a number is out of range.
    """
    if mini_batch_size is not None and (type(mini_batch_size) is not int or mini_batch_size < 1):
        raise ConfigError(
            f"model.mini_batch_size={mini_batch_size!r}: expected an integer above 0, or null for "
            "the whole batch"
        )
    if false_negative_margin is not None and not is_finite_number(false_negative_margin):
        raise ConfigError(
            f"model.false_negative_margin={false_negative_margin!r}: expected a number, or null "
            "to leave out no key"
        )
