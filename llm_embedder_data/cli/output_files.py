"""The files that a verb writes where the user says: checked before the work, written whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.core.files import atomic_file


def check_output(setting: str, path: Any) -> None:
    """Refuse a path at which no file can be written; None is no path.

    Raises:
        ConfigError: the setting and its value.
    """
    if path is None:
        return
    if not isinstance(path, str) or not path.strip():
        raise ConfigError(f"{setting}={path!r}: expected the path of a file to write")
    if Path(path).is_dir() or not Path(path).absolute().parent.is_dir():
        raise ConfigError(
            f"{setting}={path!r}: no file can be written there (name an existing folder)"
        )


def write_text(path: str, text: str) -> None:
    """Write a text file, which appears whole or not at all."""
    with atomic_file(Path(path)) as file:
        file.write(text.encode())


def write_json(path: str, content: Any) -> None:
    """Write a JSON file, which appears whole or not at all."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def check_whole_number(setting: str, value: Any, least: int, *, may_be_null: bool = False) -> None:
    """Refuse a value that is no whole number of at least ``least``.

    Raises:
        ConfigError: the setting and its value.
    """
    if value is None and may_be_null:
        return
    if type(value) is not int or value < least:
        raise ConfigError(f"{setting}={value!r}: expected a whole number of at least {least}")
