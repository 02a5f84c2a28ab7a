"""The results of an evaluation: metrics by eval set, their means, and their names in logs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from llm_embedder_data.core.printable import one_line
from llm_embedder_data.mining.rankings import Ranking

EvalSetMetrics = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """The results of an evaluation.

    Attributes:
        metrics: metrics by eval set: ``{"qa": {"ndcg@10": 0.5, ...}}``, each in [0, 1].
        rankings: search results by eval set, with the ids of queries and documents; empty unless
            they were requested.
        tasks: the task of each eval set whose task is known.
        is_complete: whether all eval sets were measured, in spite of the trainer's limits.
    """

    metrics: dict[str, dict[str, float]]
    rankings: dict[str, Ranking]
    tasks: dict[str, str]
    is_complete: bool

    def mean(self) -> dict[str, float]:
        """Return the mean of each metric over the eval sets that have it."""
        return mean_over_eval_sets(self.metrics)

    def by_task(self) -> dict[str, dict[str, float]]:
        """Return, for each task, the mean of each metric over the eval sets of the task."""
        by_task: dict[str, dict[str, Mapping[str, float]]] = {}
        for name, metrics in self.metrics.items():
            if name in self.tasks:
                by_task.setdefault(self.tasks[name], {})[name] = metrics
        return {task: mean_over_eval_sets(measured) for task, measured in by_task.items()}


def logged_values(measured: Evaluation, stage: str) -> dict[str, float]:
    """Return the metrics and their means under the names to log, such as ``val/qa/mrr@10``.

    :meth:`RetrievalEvaluator.finish` describes the names.
    """
    values = {
        f"{stage}/{one_line(eval_set)}/{name}": value
        for eval_set, metrics in measured.metrics.items()
        for name, value in metrics.items()
    }
    if not measured.is_complete:
        return values
    by_task = measured.by_task()
    # Do not log the same value twice: with a single task, its mean is the mean over all eval sets;
    # with one eval set per task, the means are the metrics of the eval sets.
    if 1 < len(by_task) < len(measured.metrics):
        values |= {
            f"{stage}/task={one_line(task)}/{name}": value
            for task, metrics in by_task.items()
            for name, value in metrics.items()
        }
    return values | {f"{stage}/{name}": value for name, value in measured.mean().items()}


def mean_over_eval_sets(measured: EvalSetMetrics) -> dict[str, float]:
    """Return the mean of each metric over the eval sets that have it.

    >>> mean_over_eval_sets({"a": {"mrr@10": 0.5}, "b": {"mrr@10": 1.0}, "c": {}})
    {'mrr@10': 0.75}
    """
    names = dict.fromkeys(name for metrics in measured.values() for name in metrics)
    means = {}
    for name in names:
        values = [metrics[name] for metrics in measured.values() if name in metrics]
        means[name] = math.fsum(values) / len(values)
    return means
