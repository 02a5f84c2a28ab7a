"""The output files of verbs: checked before the work starts, and written complete or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from llm_embedder_data.core.addresses import check_on_this_machine
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.core.file_errors import reason, writing
from llm_embedder_data.core.files import atomic_file
from llm_embedder_data.core.home_paths import with_home

# The largest whole number of a setting.
_MOST = 2**31 - 1


def check_output_file(setting: str, path: Any) -> None:
    """Refuse a path that cannot be written, before the content is computed.

    The file's folder need not exist: it is made when the file is written.

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
    if os.path.isdir(os.path.expanduser(path)):
        raise ConfigError(f"{where} is a folder (name a file in it)")
    _check_parent(setting, path)


def output_folder(setting: str, path: Any, what: str) -> Path:
    """Return the folder that a setting names for outputs; it need not exist yet.

    Args:
        setting: the key of the setting that names the folder.
        path: the setting's value.
        what: what the folder is for, for the message.

    Raises:
        ConfigError: the value is not text, is an address on another machine, names a file, or is in
            a folder that cannot be written.
    """
    if not isinstance(path, str) or not path.strip():
        raise ConfigError(f"{setting}={path!r}: expected the folder for {what}")
    folder = with_home(path)
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise ConfigError(f"{setting}={path!r}: there is a file of that name (name a folder)")
    _check_parent(setting, path)
    return folder


def store_folder(setting: str, path: Any) -> Path:
    """Return the folder that a setting names for embedding stores: see :func:`output_folder`."""
    return output_folder(setting, path, "embedding stores")


def _check_parent(setting: str, path: str) -> None:
    """Refuse a path on another machine, or in a folder that can be neither written nor made."""
    check_on_this_machine(setting, path)
    where = f"{setting}={path!r}"
    file = with_home(path).absolute()
    try:
        os.lstat(file)
    except (FileNotFoundError, NotADirectoryError):
        pass  # it will be made, or the file in its way is named below
    except (OSError, ValueError) as error:  # a name that is too long, or that holds a zero byte
        said = reason(error) if isinstance(error, OSError) else str(error)
        raise ConfigError(f"{where}: {said} (name another)") from error
    folder = next(parent for parent in file.parents if os.path.exists(parent))
    if not folder.is_dir():
        raise ConfigError(f"{where}: {str(folder)!r} is a file, not a folder")
    if not os.access(folder, os.W_OK):
        raise ConfigError(f"{where}: the folder {str(folder)!r} cannot be written")


def path_of_rejected(beside: str | Path) -> Path:
    """Return the path of the rejected rows beside an output file, for ``rejected=auto``."""
    return with_home(beside).with_suffix(".rejected.jsonl")


@contextmanager
def in_made_folder(setting: str, path: str | Path) -> Iterator[Path]:
    """Make the folder of a file to write, and its parents, and yield the file's path.

    If the block fails, the folders that were made here are deleted again, as they are empty.

    Args:
        setting: the key of the setting that names the file, for the message.
        path: the setting's value.

    Raises:
        DataError: the folder cannot be made, or the block raises an OSError.
    """
    file = with_home(path).absolute()
    missing = [folder for folder in file.parents if not os.path.exists(folder)]
    try:
        with writing(file, setting):
            file.parent.mkdir(parents=True, exist_ok=True)
            yield file
    except BaseException:
        for folder in missing:
            with suppress(OSError):  # never made, or another process has written to it
                folder.rmdir()
        raise


def write_text(setting: str, path: str, text: str) -> None:
    """Write a text file, which appears complete or not at all. Its folder is made if needed.

    Args:
        setting: the key of the setting that names the file, for the message.
        path: the setting's value.
        text: the content.

    Raises:
        DataError: the file cannot be written.
    """
    with in_made_folder(setting, path) as file, atomic_file(file) as opened:
        opened.write(text.encode())


def write_json(setting: str, path: str, content: Any) -> None:
    """Write a JSON file as :func:`write_text` does."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_text(setting, path, text)


def check_flag(setting: str, value: Any) -> None:
    """Refuse a setting's value that is neither true nor false: any text, such as no, would be true.

    Raises:
        ConfigError: the value has another type.
    """
    if not isinstance(value, bool):
        raise ConfigError(f"{setting}={value!r}: expected true or false")


def check_whole_number(setting: str, value: Any, least: int, *, may_be_null: bool = False) -> None:
    """Refuse a setting's value that is not a whole number from ``least`` to 2**31 - 1.

    Larger numbers overflow where arrays are indexed by them.

    Args:
        setting: the key of the setting.
        value: the setting's value.
        least: the smallest allowed value.
        may_be_null: whether None is allowed.

    Raises:
        ConfigError: the value has another type, is too small or is too large.
    """
    if value is None and may_be_null:
        return
    if type(value) is not int or value < least:
        raise ConfigError(f"{setting}={value!r}: expected a whole number of at least {least}")
    if value > _MOST:
        raise ConfigError(f"{setting}={value}: expected a whole number from {least} to {_MOST}")
