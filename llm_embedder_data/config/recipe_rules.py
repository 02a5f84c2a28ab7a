"""Checks of a recipe's values: a rule is a test, and words that say what is expected."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, get_args

from llm_embedder_data.core.errors import ConfigError, did_you_mean
from llm_embedder_data.core.shown_values import shown

# The most rows of a batch over all ranks: batches number their rows in 32 bits.
LARGEST_BATCH = 2**31 - 1

# A test whether a value is allowed, and a description of the allowed values for the message.
Rule: TypeAlias = tuple[Callable[[Any], bool], str]


def is_finite_number(value: Any) -> bool:
    """Return whether a value is a finite int or float within float64's range, and not a bool."""
    try:
        return type(value) in (int, float) and math.isfinite(value)
    except OverflowError:  # an int beyond the largest float
        return False


def is_text(value: Any) -> bool:
    """Return whether a value is a string that UTF-8 can encode, as tokenizers require."""
    try:
        return isinstance(value, str) and value.encode() is not None
    except UnicodeEncodeError:  # a lone surrogate, such as half of an emoji
        return False


def one_of(choices: Any) -> Rule:
    """Return the rule that allows the strings of a Literal."""
    names = get_args(choices)
    return lambda value: isinstance(value, str) and value in names, f"one of {', '.join(names)}"


NUMBER: Rule = (is_finite_number, "a finite number")
AT_LEAST_ZERO: Rule = (
    lambda value: is_finite_number(value) and value >= 0,
    "a finite number of at least 0",
)
ABOVE_ZERO: Rule = (
    lambda value: is_finite_number(value) and value > 0,
    "a finite number above 0",
)
COUNT: Rule = (lambda value: type(value) is int and value >= 1, "a whole number above 0")
WHOLE: Rule = (lambda value: type(value) is int and value >= 0, "a whole number of at least 0")
FLAG: Rule = (lambda value: isinstance(value, bool), "true or false")
TEXT: Rule = (is_text, "a text without lone surrogates")


def check_value(value: Any, rule: Rule, where: str, advice: str = "") -> None:
    """Check a value against a rule.

    Args:
        value: the value.
        rule: the rule.
        where: the file and the setting, for the message.
        advice: what the user can do, for the message; may be empty.

    Raises:
        ConfigError: the rule does not allow the value.
    """
    is_allowed, expected = rule
    if not is_allowed(value):
        end = f" ({advice})" if advice else ""
        raise ConfigError(f"{where}={shown(value)}: expected {expected}{end}")


def checked_settings(entry: Any, rules: Mapping[str, Rule], where: str) -> dict[str, Any]:
    """Return a mapping of settings, each checked against its rule; null is always allowed.

    Raises:
        ConfigError: the entry is not a mapping, a setting is unknown, or a rule does not allow its
            value.
    """
    settings = checked_mapping(entry, where)
    check_names(settings, tuple(rules), where)
    for name, value in settings.items():
        if value is not None:
            check_value(value, rules[name], f"{where}.{name}")
    return dict(settings)


def checked_by_task(value: Any, where: str) -> Mapping[str, Any]:
    """Return a mapping from task names to values; empty for null.

    Raises:
        ConfigError: the value is not a mapping, or a task name is not a string.
    """
    by_task = checked_mapping(value, where)
    for task in by_task:
        if not isinstance(task, str) or not task.strip():
            raise ConfigError(
                f"{where}: the task {shown(task)} is not a name (write it in quotes: YAML reads "
                "words such as yes, null and 1 as other things)"
            )
    return by_task


def checked_mapping(value: Any, where: str) -> Mapping[Any, Any]:
    """Return a mapping unchanged, and an empty mapping for null.

    Raises:
        ConfigError: the value is neither.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}: expected a mapping, found {shown(value)}")
    return value


def check_names(found: Mapping[Any, Any], allowed: tuple[str, ...], where: str) -> None:
    """Check that all keys of a mapping are allowed.

    Raises:
        ConfigError: a key is not allowed; the message suggests the nearest allowed one.
    """
    for name in found:
        if name not in allowed:
            raise ConfigError(
                f"{where}: unknown key {shown(name)}, expected one of {', '.join(allowed)}"
                f"{did_you_mean(name, allowed)}"
            )
