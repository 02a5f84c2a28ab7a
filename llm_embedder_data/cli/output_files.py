"""Files that a verb writes at its end: checked before it begins."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from llm_embedder_data.core.errors import ConfigError


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
