"""``pkg://PACKAGE/FILE``: the path of a file in an installed package, without importing it."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec

from llm_embedder_data.core.errors import ConfigError

PACKAGE_PREFIX = "pkg://"


def package_path(path: str, where: str) -> str:
    """Return the path on disk that a ``pkg://`` path stands for; it may be a glob.

    ``importlib.resources`` and ``find_spec`` would import the package or its parents, which runs
    their code. This function asks the import system's finders instead, one package at a time.

    Args:
        path: begins with ``pkg://``.
        where: the setting, for messages.

    Raises:
        ConfigError: the path names no package, or one that is not installed or has no folder; or it
            leads out of the package.
    """
    package, _, rest = path.removeprefix(PACKAGE_PREFIX).partition("/")
    if not package or not all(map(str.isidentifier, package.split("."))):
        raise ConfigError(
            f"{where}={path!r}: expected {PACKAGE_PREFIX}PACKAGE/FILE, with the dotted name of an "
            "installed package"
        )
    if ".." in rest.replace("\\", "/").split("/") or os.path.isabs(rest):
        raise ConfigError(
            f"{where}={path!r}: what follows the package is the path of a file inside it, without "
            "'..' (give a file elsewhere as a plain path)"
        )
    folders = _folders(package, f"{where}={path!r}")
    # A namespace package may have several folders.
    paths = [
        os.path.join(glob.escape(folder) if glob.has_magic(rest) else folder, rest)
        for folder in folders
    ]
    return next((path for path in paths if os.path.exists(path) or glob.glob(path)), paths[0])


def _folders(package: str, shown: str) -> list[str]:
    """Return the folders of an installed package."""
    found: Sequence[str] | None = None
    parts = package.split(".")
    for depth in range(1, len(parts) + 1):
        name = ".".join(parts[:depth])
        spec = _spec(name, found)
        inside = [os.path.join(folder, parts[depth - 1]) for folder in found or ()]
        if (spec is None or spec.origin is None) and any(map(os.path.isdir, inside)):
            found = inside  # a folder without __init__.py inside a package
            continue
        if spec is None:
            raise ConfigError(
                f"{shown}: there is no package {name!r} (install it, or give a plain path)"
            )
        if spec.submodule_search_locations is None:
            raise ConfigError(f"{shown}: {name!r} is a module, not a package that holds files")
        found = list(spec.submodule_search_locations)
    folders = [os.path.abspath(folder) for folder in found or () if os.path.isdir(folder)]
    if not folders:
        raise ConfigError(
            f"{shown}: the package {package!r} has no folder on disk, or lies in an archive (give "
            "a plain path)"
        )
    return folders


def _spec(name: str, folders: Sequence[str] | None) -> ModuleSpec | None:
    """Return the spec of a module by asking the import system's finders."""
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        try:
            spec = None if find is None else find(name, folders, None)
        except KeyError:
            spec = None  # raised for a namespace package, whose parent would have to be imported
        if spec is not None:
            return spec  # type: ignore[no-any-return]
    return None
