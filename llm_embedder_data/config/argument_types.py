"""Checks plain values against the type hints of the class that they are arguments of.

Many classes of Lightning do not look at the types of their arguments: a wrong value fails in some
comparison, minutes later, or has no effect.
"""

from __future__ import annotations

import inspect
import math
import types
import typing
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import is_dataclass
from typing import Any, Literal, Union

from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.core.shown_values import shown

# What a message calls a type.
_WORDS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    type(None): "null",
    list: "a list",
    dict: "a mapping",
}


def check_types_of(target: type, given: Mapping[str, Any], key: str) -> None:
    """Check plain values against the type hints of a class's arguments.

    Only values that YAML can hold are checked, and only against hints that are made of such types,
    ``Literal`` and classes. An integer is a number too, but true and false are no integers, and NaN
    is no number. A list may stand for any sequence. An argument's default is always allowed.

    Args:
        target: the class.
        given: values by the name of the argument. Names without a hint are passed over.
        key: dotted name of the config node, for messages.

    Raises:
        ConfigError: a value has another type; the message names its key and what is allowed.
    """
    hints = _hints(target)
    parameters = inspect.signature(target).parameters
    for name, value in given.items():
        if name not in hints or not _is_plain(value) or value is parameters[name].default:
            continue
        allowed = list(_alternatives(hints[name]))
        if not any(_fits(value, hint) for hint in allowed):
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            remedy = " (quote a number that is meant as text)" * (is_number and str in allowed)
            raise ConfigError(f"{key}.{name}={shown(value)}: expected {_in_words(allowed)}{remedy}")


def _hints(target: type) -> dict[str, Any]:
    """Return the type hints of a class's arguments, without those that cannot be resolved."""
    constructor: Any = target.__init__  # type: ignore[misc]
    try:
        # The constructor of a dataclass does not know the modules of the inherited fields.
        return typing.get_type_hints(target if is_dataclass(target) else constructor)
    except (NameError, TypeError, AttributeError):
        pass
    resolved: dict[str, Any] = {}
    for name, hint in getattr(constructor, "__annotations__", {}).items():
        alone = types.SimpleNamespace(__annotations__={name: hint})
        with suppress(NameError, TypeError, AttributeError):  # for type checkers only
            resolved |= typing.get_type_hints(alone, getattr(constructor, "__globals__", {}))
    return resolved


def _is_plain(value: Any) -> bool:
    """Return whether a value is one that YAML can hold, without objects in it."""
    if isinstance(value, list):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    return value is None or isinstance(value, bool | int | float | str)


def _alternatives(hint: Any) -> Iterator[Any]:
    """Yield the types that a hint allows, without the unions around them."""
    if typing.get_origin(hint) in (Union, types.UnionType):
        for part in typing.get_args(hint):
            yield from _alternatives(part)
    else:
        yield hint


def _fits(value: Any, hint: Any) -> bool:
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return any(value == part and type(value) is type(part) for part in parts)
    kind = hint if origin is None else origin
    if kind is Any or not isinstance(kind, type):
        return True  # a hint such as Any or a TypeVar, which says nothing about plain values
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind in (bool, object)
    if isinstance(value, float) and math.isnan(value):
        return False
    if kind is float:
        return isinstance(value, int | float)
    try:
        is_instance = isinstance(value, kind)
    except TypeError:
        return True  # a protocol, which says nothing about plain values either
    if isinstance(value, list) and (kind is tuple or is_instance):
        of_elements = [*_alternatives(parts[0])] if len(parts) == 1 else [Any]
        return all(any(_fits(element, one) for one in of_elements) for element in value)
    return is_instance


def _in_words(allowed: list[Any]) -> str:
    """Return what a hint allows, as part of a sentence."""
    words: list[str] = []
    for hint in allowed:
        origin = typing.get_origin(hint)
        if origin is Literal:
            words += map(str, typing.get_args(hint))
        elif (kind := hint if origin is None else origin) in _WORDS:
            words.append(_WORDS[kind])
        else:
            name = getattr(kind, "__name__", str(kind))
            words.append(f"an object of {name} ({{_target_: ...}})")
    unique = list(dict.fromkeys(words))
    if "a number" in unique and "a whole number" in unique:
        unique.remove("a whole number")
    return unique[0] if len(unique) == 1 else f"{', '.join(unique[:-1])} or {unique[-1]}"
