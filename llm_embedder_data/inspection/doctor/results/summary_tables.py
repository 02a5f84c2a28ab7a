"""The rows of the tables of text lengths and of the plan, for the console and for pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm_embedder_data.core.printable import one_line

LENGTH_NAMES = ("dataset", "side", "median", "95 %", "99 %", "longest", "limit", "cut off")
PLAN_NAMES = ("dataset", "task", "rows", "global batch", "steps", "share", "left out a pass")


def length_rows(datasets: Mapping[str, Any]) -> list[tuple[str | int, ...]]:
    """Return a row for the queries and a row for the keys of each training set.

    Args:
        datasets: the entry ``datasets`` of a :class:`~.diagnosis.Diagnosis`.
    """
    rows: list[tuple[str | int, ...]] = []
    for name, entry in datasets.items():
        for side in ("query", "key"):
            if lengths := entry.get("lengths", {}).get(side):
                columns = ("p50", "p95", "p99", "max", "max_length")
                numbers = [int(lengths[column]) for column in columns]
                rows.append((one_line(name), side, *numbers, f"{lengths['truncated']:.1%}"))
    return rows


def plan_rows(plan: Mapping[str, Any]) -> list[tuple[str | int, ...]]:
    """Return a row for each dataset of an epoch.

    Args:
        plan: the entry ``plan`` of a :class:`~.diagnosis.Diagnosis`.
    """
    return [
        (
            one_line(name),
            dataset["task"],
            dataset["rows"],
            dataset["global_batch"],
            dataset["steps_per_epoch"],
            f"{dataset['share']:.1%}",
            dataset["left_out_per_pass"],
        )
        for name, dataset in plan["datasets"].items()
    ]


def plan_title(plan: Mapping[str, Any]) -> str:
    """Return the title of the plan's table."""
    ranks = plan["num_replicas"]
    return (
        f"The plan: {plan['steps_per_epoch']:,} steps an epoch on {ranks:,} "
        f"rank{'s' * (ranks != 1)}"
    )
