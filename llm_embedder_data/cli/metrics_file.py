"""``metrics_file``: the metrics of an evaluation as JSON, for programs to read."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.core.files import atomic_file


def check_metrics_file(path: Any) -> None:
    """Refuse a path that cannot be written, before the metrics are computed.

    Raises:
        ConfigError: why it cannot be written.
    """
    if path is None:
        return
    where = f"metrics_file={path!r}"
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


def by_dataset(metrics: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    """Group logged values named ``val/<dataset>/<metric>`` by dataset.

    Returns:
        ``{dataset: {metric: value}}``, without the means over datasets (``val/ndcg@10``). NaN and
        infinity become None, since JSON has neither.

    >>> by_dataset({"val/qa/ndcg@10": 0.5, "val/ndcg@10": 0.5, "val/a/b/mrr@10": 1.0})
    {'qa': {'ndcg@10': 0.5}, 'a/b': {'mrr@10': 1.0}}
    """
    grouped: dict[str, dict[str, float | None]] = {}
    for name, value in metrics.items():
        dataset, _, metric = name.removeprefix("val/").rpartition("/")
        if name.startswith("val/") and dataset:
            number = float(value)
            grouped.setdefault(dataset, {})[metric] = number if math.isfinite(number) else None
    return grouped


def write_metrics(path: str, metrics: Mapping[str, Any]) -> None:
    """Write the metrics by dataset as JSON; the file appears complete or not at all.

    Raises:
        ConfigError: there is nothing to write, or the file cannot be written.
    """
    grouped = by_dataset(metrics)
    if not grouped:
        raise ConfigError(
            f"metrics_file={path!r} is not written: nothing was measured (val/<dataset>/<metric>)"
        )
    file = Path(path)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(file) as opened:
            opened.write((json.dumps(grouped, indent=2) + "\n").encode())
    except OSError as error:
        raise ConfigError(f"metrics_file={path!r} cannot be written: {error}") from error
