"""The output files of verbs: checked before the work starts, and written complete or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from llm_embedder_data.core.addresses import check_on_this_machine
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.core.file_errors import writing
from llm_embedder_data.core.files import atomic_file


def check_output_file(setting: str, path: Any) -> None:
    """Refuse a path that cannot be written, before the content is computed.

    Args:
        setting: the key of the setting that names the file.
        path: the setting's value; None is allowed.

    Raises:
        ConfigError: the value is not text; or the path is an address on another machine, is a
            folder, or is in a folder that cannot be written.
    """
    if path is None:
        return
    where = f"{setting}={path!r}"
    if not isinstance(path, str) or not path.strip():
        raise ConfigError(f"{where}: expected the path of a file, or null")
    check_on_this_machine(setting, path)
    file = Path(path).expanduser().absolute()
    if file.is_dir():
        raise ConfigError(f"{where} is a folder (name a file in it)")
    folder = next(parent for parent in file.parents if parent.exists())
    if not folder.is_dir():
        raise ConfigError(f"{where}: {str(folder)!r} is a file, not a folder")
    if not os.access(folder, os.W_OK):
        raise ConfigError(f"{where}: the folder {str(folder)!r} cannot be written")


def store_folder(setting: str, path: Any) -> Path:
    """Return the folder that a setting names for embedding stores; it need not exist yet.

    Raises:
        ConfigError: the value is not text, is an address on another machine, or names a file.
    """
    if not isinstance(path, str) or not path.strip():
        raise ConfigError(f"{setting}={path!r}: expected the folder for embedding stores")
    check_on_this_machine(setting, path)
    folder = Path(path).expanduser()
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{setting}={path!r}: there is a file of that name (name a folder)")
    return folder


def write_text(setting: str, path: str, text: str) -> None:
    """Write a text file, which appears complete or not at all. Its folder is made if needed.

    Args:
        setting: the key of the setting that names the file.
        path: the setting's value.
        text: the content.

    Raises:
        DataError: the file cannot be written.
    """
    file = Path(path).expanduser()
    with writing(file, setting):
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(file) as opened:
            opened.write(text.encode())


def write_json(setting: str, path: str, content: Any) -> None:
    """Write a JSON file; see :func:`write_text`."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_text(setting, path, text)


def check_whole_number(setting: str, value: Any, least: int, *, may_be_null: bool = False) -> None:
    """Refuse a setting's value that is not a whole number of at least ``least``.

    Args:
        setting: the key of the setting.
        value: the setting's value.
        least: the smallest allowed value.
        may_be_null: whether None is allowed.

    Raises:
        ConfigError: the value has another type or is too small.
    """
    if value is None and may_be_null:
        return
    if type(value) is not int or value < least:
        raise ConfigError(f"{setting}={value!r}: expected a whole number of at least {least}")
