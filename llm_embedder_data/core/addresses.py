"""Addresses: paths with a protocol, such as ``s3://bucket/file``. The package only reads them."""

from __future__ import annotations

import os
import re
from typing import Any

from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.core.printable import one_line

# s3://, hf://, https://, ...: at least two letters, because C:// is a Windows drive.
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def is_address(path: str) -> bool:
    """Whether a path is an address with a protocol, which fsspec opens."""
    return _ADDRESS.match(path) is not None


def check_on_this_machine(setting: str, path: Any) -> None:
    """Check that an output path is not an address, which would become a folder called ``s3:``.

    Args:
        setting: the name of the setting, for messages.
        path: the value of the setting; values that are not paths are left to other checks.

    Raises:
        ConfigError: the path is an address.
    """
    if isinstance(path, str | os.PathLike) and is_address(os.fspath(path)):
        raise ConfigError(
            f"{setting}={one_line(path)}: files are written to a disk, not to an address (give a "
            "path, and copy the result there)"
        )
