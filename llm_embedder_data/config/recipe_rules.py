"""Checks of a recipe's values: each rule is a test and the words for what it expects."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, get_args

from llm_embedder_data.core.errors import ConfigError, did_you_mean

# The most rows of a batch, on all ranks: batches number them in 32 bits.
LARGEST_BATCH = 2**31 - 1

# Whether a value is allowed, and what to expect instead.
Rule: TypeAlias = tuple[Callable[[Any], bool], str]


def is_finite_number(value: Any) -> bool:
    """Return whether a value is an int or float that fits in a float64; booleans are not."""
    try:
        return type(value) in (int, float) and math.isfinite(value)
    except OverflowError:  # an int beyond the largest float
        return False


def is_text(value: Any) -> bool:
    """Return whether a value is a text that UTF-8 can write, as a tokenizer needs it."""
    try:
        return isinstance(value, str) and value.encode() is not None
    except UnicodeEncodeError:  # half of a character, such as an emoji
        return False


def one_of(choices: Any) -> Rule:
    """Return the rule for the strings of a Literal."""
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
FLAG: Rule = (lambda value: isinstance(value, bool), "true or false")
TEXT: Rule = (is_text, "a text without lone surrogates")


def check_value(value: Any, rule: Rule, where: str, advice: str = "") -> None:
    """Check a value against a rule.

    Args:
        value: the value.
        rule: the rule.
        where: the file and setting, for the message.
        advice: what to do, for the message.

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
        ConfigError: not a mapping, an unknown setting, or a value that its rule does not allow.
    """
    settings = checked_mapping(entry, where)
    check_names(settings, tuple(rules), where)
    for name, value in settings.items():
        if value is not None:
            check_value(value, rules[name], f"{where}.{name}")
    return dict(settings)


def checked_by_task(value: Any, where: str) -> Mapping[str, Any]:
    """Return a mapping from task names, empty for null.

    Raises:
        ConfigError: not a mapping, or a task name that is not a string.
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
    """Return a mapping, empty for null.

    Raises:
        ConfigError: anything else.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}: expected a mapping, found {shown(value)}")
    return value


def check_names(found: Mapping[Any, Any], allowed: tuple[str, ...], where: str) -> None:
    """Check the names in a mapping.

    Raises:
        ConfigError: a name that is not allowed, with the nearest allowed one.
    """
    for name in found:
        if name not in allowed:
            raise ConfigError(
                f"{where}: unknown key {shown(name)}, expected one of {', '.join(allowed)}"
                f"{did_you_mean(name, allowed)}"
            )


def shown(value: Any) -> str:
    """Return a value's repr for a message, shortened to 80 characters."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # a circle; an integer of thousands of digits
        return f"a {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."
