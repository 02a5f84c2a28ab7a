"""The files that a verb writes where the user says: checked before the work, written whole."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.core.files import atomic_file


def check_output_file(setting: str, path: Any) -> None:
    """Refuse a path that cannot be written, before what is to be written is computed.

    Args:
        setting: the key that names the file.
        path: its value; None is allowed.

    Raises:
        ConfigError: why it cannot be written.
    """
    if path is None:
        return
    where = f"{setting}={path!r}"
    if not isinstance(path, str) or not path.strip():
        raise ConfigError(f"{where}: expected the path of a file, or null")
    file = Path(path).absolute()
    if file.is_dir():
        raise ConfigError(f"{where} is a folder (name a file in it)")
    folder = next(parent for parent in file.parents if parent.exists())
    if not folder.is_dir():
        raise ConfigError(f"{where}: {str(folder)!r} is a file, not a folder")
    if not os.access(folder, os.W_OK):
        raise ConfigError(f"{where}: the folder {str(folder)!r} cannot be written")


def write_text(path: str, text: str) -> None:
    """Write a text file, which appears whole or not at all; make its folder."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
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
