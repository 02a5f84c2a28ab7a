"""Settings as plain Python: what loggers record and checkpoints keep of a data module."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sized
from typing import Any

from llm_embedder_data.core.errors import ConfigError

_IN_MEMORY = "<in memory: "

# A list of so many mappings without a path is rows, not sources.
_SOURCE_KEYS = ("path", "name")


def recorded(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments in numbers, text, lists and dicts; what lies in memory as a word about it.

    Args:
        arguments: of the data module, by name.
    """
    return {name: _recorded(value) for name, value in arguments.items()}


def refuse_words(name: str, value: Any) -> None:
    """Refuse a word about an object, which :func:`recorded` left in its place.

    Args:
        name: of the argument.
        value: of it, as it was given.

    Raises:
        ConfigError: naming the argument.
    """
    if isinstance(value, str) and value.startswith(_IN_MEMORY):
        raise ConfigError(
            f"data.{name}={value!r} only says what lay in memory when these settings were recorded "
            f"(give {name} anew, as to RetrievalDataModule.load_from_checkpoint(path, {name}=...))"
        )
    if isinstance(value, Mapping):
        for one in value.values():
            refuse_words(name, one)
    elif isinstance(value, list | tuple):
        for one in value:
            refuse_words(name, one)


def _recorded(value: Any) -> Any:
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping) and all(
        type(name) is int or isinstance(name, str) for name in value
    ):
        # A limit on negatives may be a mapping from epochs, which are integers.
        names = (str(name) if isinstance(name, str) else name for name in value)
        return {name: _recorded(one) for name, one in zip(names, value.values(), strict=True)}
    if isinstance(value, list | tuple):
        rows = [one for one in value if isinstance(one, Mapping) and not _is_source(one)]
        return _word(value) if rows else [_recorded(one) for one in value]
    if isinstance(value, bool | int | float | str):  # a subclass, an enum's or another's
        return next(kind(value) for kind in (bool, int, float, str) if isinstance(value, kind))
    return _word(value)


def _is_source(value: Mapping[Any, Any]) -> bool:
    return any(key in value for key in _SOURCE_KEYS)


def _word(value: Any) -> str:
    kind = type(value).__name__
    if isinstance(value, Sized) and not isinstance(value, str | bytes):
        try:
            return f"{_IN_MEMORY}{kind} of length {len(value)}>"
        except (TypeError, NotImplementedError, AttributeError):
            pass
    return f"{_IN_MEMORY}{kind}>"
