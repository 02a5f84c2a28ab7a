"""Resolves the prefixes of users' paths, and recognizes names of datasets of a hub."""

from __future__ import annotations

import os
import re

from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.rows.sources.package_paths import PACKAGE_PREFIX, package_path

# Matches the name of a dataset on a hub. Users may give it as a path by mistake.
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")

_DATA_ROOT_PREFIX = "llm-embedder:"


def without_prefix(path: str, where: str, data_root: str | os.PathLike[str] | None) -> str:
    """Return the path or address that a path with a prefix stands for.

    Args:
        path: a path or address that a user gave.
        where: the name of the setting, for messages.
        data_root: the folder that the prefix ``llm-embedder:`` stands for.

    Raises:
        ConfigError: the path is empty, its prefix needs ``data_root``, which is None, or it names a
            package that is not installed.
    """
    if not path.strip():
        raise ConfigError(f"{where}={path!r}: an empty path (name a file or folder, or give null)")
    if path.startswith(_DATA_ROOT_PREFIX):
        if data_root is None:
            raise ConfigError(
                f"{where}={path!r}: the prefix {_DATA_ROOT_PREFIX!r} stands for data_root, which "
                "is not set (give data.data_root)"
            )
        return os.path.join(os.fspath(data_root), path.removeprefix(_DATA_ROOT_PREFIX))
    if path.startswith(PACKAGE_PREFIX):
        return package_path(path, where)
    return path.removeprefix("file://")
