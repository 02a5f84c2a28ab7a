"""A search for damaged cache files."""

from __future__ import annotations

import os
from pathlib import Path

from llm_embedder_data.core.checked_json import CHECKED_JSON_SUFFIX, read_checked_json
from llm_embedder_data.core.sealed_files import BUILDING_SUFFIX, SEALED_SUFFIXES, is_whole


def damaged_files(folder: Path) -> list[Path]:
    """Return the damaged cache files below a folder; reads every file in full.

    Deleting them is safe: the next start makes them again. Files that this process may not read,
    such as those of another user, are passed over.
    """
    damaged = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.endswith(BUILDING_SUFFIX)]
        for path in (Path(parent, name) for name in [*names, *folders]):
            if not os.access(path, os.R_OK):
                continue
            if (path.suffix in SEALED_SUFFIXES and not is_whole(path, in_full=True)) or (
                path.suffix == CHECKED_JSON_SUFFIX and read_checked_json(path) is None
            ):
                damaged.append(path)
    return sorted(damaged)
