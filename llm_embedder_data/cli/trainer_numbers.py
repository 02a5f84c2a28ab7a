"""Checks of the trainer's numbers that Lightning takes without a word.

Lightning (2.6) accepts, for example, ``accumulate_grad_batches=0`` and fails in the first step, and
ignores ``min_epochs`` if ``max_epochs`` is smaller.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

from llm_embedder_data.core.errors import ConfigError, check_choice

# The smallest value of each number.
_LEAST: dict[str, int] = {
    "min_epochs": 0,
    "min_steps": 0,
    "check_val_every_n_epoch": 1,
    "num_sanity_val_steps": -1,
    "log_every_n_steps": 0,
    "accumulate_grad_batches": 1,
    "gradient_clip_val": 0,
}

# The entries of a time that is given as a mapping: arguments of datetime.timedelta.
_UNITS = ("weeks", "days", "hours", "minutes", "seconds", "milliseconds", "microseconds")

# Pairs of a lower and an upper bound; -1 and null are no bound.
_BOUNDS = (("min_epochs", "max_epochs"), ("min_steps", "max_steps"))

# The trainers whose arguments these are. The class of a user may mean something else by a name.
_TRAINERS = ("lightning.pytorch.Trainer", "lightning.Trainer")


def check_trainer_numbers(trainer: Mapping[str, Any]) -> None:
    """Refuse numbers of ``trainer`` that are too small, and settings that contradict each other.

    Values of other types are left to the check of types, when the trainer is built.

    Raises:
        ConfigError: a number cannot be used; the message names its key and what is allowed.
    """
    if trainer.get("_target_") not in _TRAINERS:
        return
    for name, least in _LEAST.items():
        value = trainer.get(name)
        if _is_number(value) and value < least:
            raise ConfigError(f"trainer.{name}={value!r}: expected a number of at least {least}")
    if trainer.get("val_check_interval") in (0, 0.0) and _is_number(trainer["val_check_interval"]):
        raise ConfigError(
            "trainer.val_check_interval=0: expected a number of batches of at least 1, or a share "
            "of the epoch above 0 (trainer.limit_val_batches=0 turns validation off)"
        )
    for lower, upper in _BOUNDS:
        low, high = trainer.get(lower), trainer.get(upper)
        if _is_number(low) and _is_number(high) and -1 < high < low:
            raise ConfigError(
                f"trainer.{lower}={low} is more than trainer.{upper}={high}, at which training "
                "ends (raise or leave out one of them)"
            )
    _check_overfitting(trainer)
    for name in ("max_time", "val_check_interval"):
        if isinstance(value := trainer.get(name), Mapping) and "_target_" not in value:
            for unit in value:
                check_choice(unit, _UNITS, f"trainer.{name}")
    if (
        trainer.get("gradient_clip_algorithm") is not None
        and trainer.get("gradient_clip_val") is None
    ):
        raise ConfigError(
            f"trainer.gradient_clip_algorithm={trainer['gradient_clip_algorithm']!r}: no gradient "
            "is clipped, as trainer.gradient_clip_val=null (set it to a number)"
        )


def _check_overfitting(trainer: Mapping[str, Any]) -> None:
    """Refuse limits that ``overfit_batches`` replaces by its own."""
    value = trainer.get("overfit_batches")
    if not _is_number(value) or value <= 0:
        return
    for name in ("limit_train_batches", "limit_val_batches"):
        if trainer.get(name) is not None:
            raise ConfigError(
                f"trainer.{name}={trainer[name]!r} has no effect beside "
                f"trainer.overfit_batches={value}, which limits training and validation (leave "
                "one of them out)"
            )


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
