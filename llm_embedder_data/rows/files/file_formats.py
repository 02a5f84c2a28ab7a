"""The formats of data files, and which format a file has.

There are three functions for that, from cheap to certain:

- ``declared_format``: what the setting or the file's ending says, even if the ending is unknown;
- ``format_of``: the same, but an unknown ending is an error;
- ``real_format``: what the file's first bytes say, checked against the setting.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.rows.files.compression import COMPRESSIONS, compression_suffix
from llm_embedder_data.rows.files.signatures import head_of, table_of

Format = Literal["auto", "json", "parquet", "arrow"]

# The format that "auto" means, by file name ending (after the ending of a compression is removed).
ENDINGS: dict[str, Format] = {
    ".jsonl": "json",
    ".json": "json",
    ".ndjson": "json",
    ".parquet": "parquet",
    ".arrow": "arrow",
}

# Binary formats, whose columns have types.
TABLE_FORMATS: tuple[Format, ...] = ("parquet", "arrow")


def format_of(path: str, chosen: Format) -> Format:
    """Return the chosen format; for ``"auto"``, the format that the file's ending names.

    Raises:
        DataError: the format is ``"auto"`` and the ending is unknown.
    """
    declared = declared_format(path, chosen)
    if declared not in ENDINGS.values():
        raise DataError.at(
            path,
            f"the ending {declared!r} is not one of {', '.join(ENDINGS)}, with or without "
            f"{', '.join(COMPRESSIONS)} (rename it, or give the source a format: "
            f"{', '.join(get_args(Format)[1:])})",
        )
    return declared  # type: ignore[return-value]


def declared_format(path: str, chosen: Format) -> str:
    """Return the format that the setting or the ending names, or the ending if it is unknown.

    This never fails, so the result can be part of a cache's name before the file is opened.
    """
    if chosen != "auto":
        return chosen
    suffix = plain_suffix(path)
    return ENDINGS.get(suffix.lower(), suffix)


def real_format(path: str, chosen: Format) -> Format:
    """Return the format that a file's first bytes show; if they show none, see :func:`format_of`.

    Raises:
        DataError: the file cannot be opened, its format is unknown, or it is not the chosen format.
    """
    try:
        found = table_of(head_of(path))
    except OSError as error:
        raise DataError.at(path, f"cannot be read: {error.strerror} (correct the path)") from error
    if found == chosen or (found and chosen == "auto"):
        return found  # type: ignore[return-value]
    if found:
        raise DataError.at(
            path, f"it is a {found} file, not {chosen} (leave the format out, or say {found})"
        )
    return format_of(path, chosen)


def plain_suffix(path: str) -> str:
    """Return the ending of a path, after the ending of a compression is removed."""
    return Path(path.removesuffix(compression_suffix(path))).suffix


def plain_stem(path: Path) -> str:
    """Return the file name of a path without the endings of its format and compression."""
    return Path(path.name.removesuffix(compression_suffix(path.name))).stem
