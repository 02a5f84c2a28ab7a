"""``metrics_file``: the metrics of an evaluation as JSON, for programs to read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from llm_embedder_data.cli.output_files import write_json
from llm_embedder_data.core.errors import ConfigError


def unrounded(metrics: Mapping[str, Any], model: Any) -> dict[str, Any]:
    """Replace logged values, which Lightning keeps as float32, by the evaluator's float64 values.

    Args:
        metrics: logged values by name.
        model: the model that was evaluated. Without a RetrievalEvaluator as its ``evaluator``, the
            logged values are returned.
    """
    measured = getattr(getattr(model, "evaluator", None), "values", {})
    return {
        name: measured[name]
        if name in measured and np.float32(measured[name]) == np.float32(value)
        else value
        for name, value in metrics.items()
    }


def by_dataset(metrics: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    """Group logged values named ``val/<dataset>/<metric>`` by dataset.

    Returns:
        ``{dataset: {metric: value}}``, without means over datasets: ``val/ndcg@10`` and
        ``val/task=qa/ndcg@10``. NaN and infinity become None, because JSON has neither.

    >>> by_dataset({"val/qa/ndcg@10": 0.5, "val/ndcg@10": 0.5, "val/a/b/mrr@10": 1.0})
    {'qa': {'ndcg@10': 0.5}, 'a/b': {'mrr@10': 1.0}}
    """
    grouped: dict[str, dict[str, float | None]] = {}
    for name, value in metrics.items():
        dataset, _, metric = name.removeprefix("val/").rpartition("/")
        if name.startswith("val/") and dataset and not dataset.startswith("task="):
            number = float(value)
            grouped.setdefault(dataset, {})[metric] = number if math.isfinite(number) else None
    return grouped


def write_metrics(path: str, metrics: Mapping[str, Any]) -> None:
    """Write the metrics by dataset as JSON; the file appears complete or not at all.

    Raises:
        ConfigError: there is nothing to write.
        DataError: the file cannot be written.
    """
    grouped = by_dataset(metrics)
    if not grouped:
        raise ConfigError(
            f"metrics_file={path!r} is not written: nothing was measured (val/<dataset>/<metric>)"
        )
    write_json("metrics_file", path, grouped)
