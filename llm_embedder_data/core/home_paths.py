"""Paths that users give, with ``~`` for a home folder."""

from __future__ import annotations

import os
from pathlib import Path

from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.core.printable import one_line


def with_home(path: str | os.PathLike[str]) -> Path:
    """Return a path whose leading ``~`` or ``~user`` is replaced by that home folder.

    Raises:
        ConfigError: there is no such user. ``Path.expanduser`` raises a RuntimeError then, which
            does not name the path.
    """
    found = os.path.expanduser(path)
    if found.startswith("~"):
        user = found.partition("/")[0]
        raise ConfigError(
            f"{one_line(found)!r}: there is no user with the home folder {user!r} (write "
            f"./{user} for a folder of that name)"
        )
    return Path(found)
