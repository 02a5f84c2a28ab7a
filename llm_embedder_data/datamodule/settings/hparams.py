"""Settings as plain Python, for loggers and checkpoints."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sized
from typing import Any

from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.datamodule.settings.settings import DataSettings

_IN_MEMORY = "<in memory: "

# A list of mappings without any of these keys holds rows, not sources.
_SOURCE_KEYS = ("path", "name")


def recorded(settings: DataSettings) -> dict[str, Any]:
    """Return settings as numbers, strings, lists and dicts.

    An object in memory, such as a tokenizer, is replaced by a description.
    """
    return {name: _recorded(value) for name, value in settings.as_dict().items()}


def refuse_descriptions(settings: DataSettings) -> None:
    """Check that no setting is a description that :func:`recorded` put in place of an object.

    Raises:
        ConfigError: a setting is one; the message names it.
    """
    for name, value in settings.as_dict().items():
        _refuse_descriptions(name, value)


def logged_names(recorded_settings: Any, model: Any) -> Any:
    """Return recorded settings under the names to send to loggers.

    Lightning refuses to log two values under one name. So a setting is named ``data.<name>`` if the
    model has a setting of the same name with another value.
    """
    theirs = model.hparams_initial if getattr(model, "_log_hyperparams", False) else {}
    return type(recorded_settings)(
        {
            f"data.{name}" if name in theirs and not _same(theirs[name], value) else name: value
            for name, value in recorded_settings.items()
        }
    )


def _same(left: Any, right: Any) -> bool:
    """Compare two values as Lightning compares the hyperparameters of model and data module."""
    return type(left) is type(right) and bool(left == right)


def _refuse_descriptions(name: str, value: Any) -> None:
    if isinstance(value, str) and value.startswith(_IN_MEMORY):
        raise ConfigError(
            f"data.{name}={value!r} only describes an object that was in memory when these "
            f"settings were recorded (pass {name} again, for example with "
            f"RetrievalDataModule.load_from_checkpoint(path, {name}=...))"
        )
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            _refuse_descriptions(name, item)


def _recorded(value: Any) -> Any:
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping) and all(
        type(name) is int or isinstance(name, str) for name in value
    ):
        # Keys may be integers: a limit on negatives may be a mapping from epochs.
        names = (str(name) if isinstance(name, str) else name for name in value)
        return {name: _recorded(item) for name, item in zip(names, value.values(), strict=True)}
    if isinstance(value, list | tuple):
        rows = [item for item in value if isinstance(item, Mapping) and not _is_source(item)]
        return _description(value) if rows else [_recorded(item) for item in value]
    if isinstance(value, bool | int | float | str):  # a subclass, such as a string enum
        return next(kind(value) for kind in (bool, int, float, str) if isinstance(value, kind))
    return _description(value)


def _is_source(value: Mapping[Any, Any]) -> bool:
    return any(key in value for key in _SOURCE_KEYS)


def _description(value: Any) -> str:
    kind = type(value).__name__
    if isinstance(value, Sized) and not isinstance(value, str | bytes):
        try:
            return f"{_IN_MEMORY}{kind} of length {len(value)}>"
        except (TypeError, NotImplementedError, AttributeError):
            pass
    return f"{_IN_MEMORY}{kind}>"
