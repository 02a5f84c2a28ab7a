"""The settings of a source that only the readers of foreign formats need, and their checks."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, get_args

from llm_embedder_data.core.errors import ConfigError, did_you_mean
from llm_embedder_data.rows.files.file_formats import Format
from llm_embedder_data.rows.formats.detection import BY_NAME
from llm_embedder_data.rows.records.memory_records import is_data, is_dataset_dict
from llm_embedder_data.rows.schema.canonical_rows import Kind

# By kind of rows. The values of _OTHER_FILES name further files: a path, a source, or data in
# memory.
_OTHER_FILES = ("corpus", "queries", "qrels", "negatives", "scores")
READER_OPTIONS: Mapping[Kind, tuple[str, ...]] = {
    "train": (*_OTHER_FILES, "split", "prefix", "config", "miner", "threshold"),
    "eval": ("corpus", "queries", "qrels", "split", "prefix", "config", "threshold"),
    "corpus": ("split", "prefix", "config"),
}

CONTAINERS: tuple[str, ...] = (*get_args(Format), "csv", "tsv")


def check_reader_options(format: Any, options: Mapping[str, Any], where: str) -> None:
    """Check the values of ``format`` and of reader options.

    Args:
        format: the value of ``format``, or None.
        options: values by name; the names are those of :data:`READER_OPTIONS`.
        where: the source, for messages.

    Raises:
        ConfigError: a value is not allowed.
    """
    if format is not None:
        _check_format(format, where)
    for name in _OTHER_FILES:
        value = options.get(name, "")
        if not isinstance(value, str | os.PathLike | Mapping | list | tuple) and not (
            is_data(value) or is_dataset_dict(value)
        ):
            raise ConfigError(
                f"{where}.{name}={value!r}: expected a path, a list of paths, a mapping with the "
                "key 'path', or data in memory"
            )
    for name in ("split", "prefix", "config", "miner"):
        value = options.get(name, "")
        if not isinstance(value, str):
            raise ConfigError(f"{where}.{name}={value!r}: expected a string")
    threshold = options.get("threshold", 0)
    if (
        isinstance(threshold, bool)
        or not isinstance(threshold, int | float)
        or not math.isfinite(threshold)
    ):
        raise ConfigError(
            f"{where}.threshold={threshold!r}: expected a number (labels at or above it are "
            "positive)"
        )


def _check_format(format: Any, where: str) -> None:
    allowed = [*CONTAINERS, *BY_NAME]
    if format in allowed and isinstance(format, str):
        return
    hint = did_you_mean(format, allowed)
    if not hint and isinstance(format, str):
        hint = f"; the nearest is {get_close_matches(format, allowed, n=1, cutoff=0)[0]!r}"
    raise ConfigError(f"{where}.format={format!r}: expected one of {', '.join(allowed)}{hint}")
