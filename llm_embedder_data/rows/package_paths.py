"""``pkg://PACKAGE/FILE``: a path inside an installed package, found without importing anything."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec

from llm_embedder_data.core.errors import ConfigError

PACKAGE_PREFIX = "pkg://"


def package_path(path: str, where: str) -> str:
    """The path on disk that a ``pkg://`` path stands for; it may be a glob.

    ``importlib.resources`` and ``find_spec`` import the package, or the packages around it, which
    runs their code. Here the finders are asked one by one, each with the folders found so far.

    Args:
        path: begins with ``pkg://``.
        where: the setting, for messages.

    Raises:
        ConfigError: a path without a package, of a package that is not installed or has no folder,
            or that leads out of it.
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
    # A package without __init__ may lie in several folders.
    paths = [
        os.path.join(glob.escape(one) if glob.has_magic(rest) else one, rest) for one in folders
    ]
    return next((one for one in paths if os.path.exists(one) or glob.glob(one)), paths[0])


def _folders(package: str, shown: str) -> list[str]:
    """The folders of an installed package."""
    found: Sequence[str] | None = None
    parts = package.split(".")
    for place in range(1, len(parts) + 1):
        name = ".".join(parts[:place])
        spec = _spec(name, found)
        inside = [os.path.join(one, parts[place - 1]) for one in found or ()]
        if (spec is None or spec.origin is None) and any(map(os.path.isdir, inside)):
            found = inside  # a folder without __init__, in a package
            continue
        if spec is None:
            raise ConfigError(
                f"{shown}: there is no package {name!r} (install it, or give a plain path)"
            )
        if spec.submodule_search_locations is None:
            raise ConfigError(f"{shown}: {name!r} is a module, not a package that holds files")
        found = list(spec.submodule_search_locations)
    folders = [os.path.abspath(one) for one in found or () if os.path.isdir(one)]
    if not folders:
        raise ConfigError(
            f"{shown}: the package {package!r} has no folder on disk, or lies in an archive (give "
            "a plain path)"
        )
    return folders


def _spec(name: str, folders: Sequence[str] | None) -> ModuleSpec | None:
    """The spec of a module from the finders alone, as the import system asks them."""
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        try:
            spec = None if find is None else find(name, folders, None)
        except KeyError:
            spec = None  # a folder without __init__ is looked for in the imported parent
        if spec is not None:
            return spec  # type: ignore[no-any-return]
    return None
