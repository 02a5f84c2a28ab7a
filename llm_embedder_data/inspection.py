"""What a run will do, before it does it: the plan of a configuration for any number of ranks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from llm_embedder_data.batches.plan import EpochPlan
from llm_embedder_data.config import ConfigError


def plan_facts(plan: EpochPlan, tasks: Mapping[str, str]) -> dict[str, Any]:
    """An epoch of a plan in numbers, in plain Python.

    Args:
        plan: of any epoch.
        tasks: task of each dataset, by name.

    Returns:
        ``steps_per_epoch``, ``num_replicas``, ``tasks`` ({task: share of the steps}) and
        ``datasets``: for each its task, rows, batch_size (per rank), global_batch, steps_per_epoch,
        share (of the steps), passes_per_epoch, rows_per_epoch (drawn) and left_out_per_pass (rows
        that sit a pass out).

    """
    datasets: dict[str, dict[str, Any]] = {}
    shares: dict[str, float] = {}
    for name, n_rows in plan.sizes.items():
        global_batch = plan.batch_size[name] * plan.num_replicas
        steps = plan.steps.get(name, 0)
        left_out = n_rows % global_batch if steps and n_rows >= global_batch else 0
        share = steps / len(plan)
        shares[tasks[name]] = shares.get(tasks[name], 0.0) + share
        datasets[name] = {
            "task": tasks[name],
            "rows": n_rows,
            "batch_size": plan.batch_size[name],
            "global_batch": global_batch,
            "steps_per_epoch": steps,
            "share": share,
            "passes_per_epoch": plan.weights[name] if steps else 0.0,
            "rows_per_epoch": steps * global_batch,
            "left_out_per_pass": left_out if steps else n_rows,
        }
    return {
        "num_replicas": plan.num_replicas,
        "organize_method": plan.organize_method,
        "seed": plan.seed,
        "steps_per_epoch": len(plan),
        "tasks": shares,
        "datasets": datasets,
    }


def plan_table(facts: Mapping[str, Any]) -> Table:
    """:func:`plan_facts` to look at."""
    ranks, steps = facts["num_replicas"], facts["steps_per_epoch"]
    table = Table(title=f"{steps:,} steps an epoch on {ranks:,} ranks ({facts['organize_method']})")
    for name in ("dataset", "task"):
        table.add_column(name)
    for name in ("rows", "global batch", "steps", "share", "passes", "left out a pass"):
        table.add_column(name, justify="right")
    for name, one in facts["datasets"].items():
        table.add_row(
            name,
            one["task"],
            f"{one['rows']:,}",
            f"{one['batch_size']:,} x {ranks:,}",
            f"{one['steps_per_epoch']:,}",
            f"{one['share']:.1%}",
            f"{one['passes_per_epoch']:g}",
            f"{one['left_out_per_pass']:,}",
        )
    for task, share in facts["tasks"].items():
        table.add_row("", task, "", "", "", f"{share:.1%}", "", "", style="dim")
    return table


def step_facts(plan: EpochPlan, step: int, rank: int | None = None) -> dict[str, Any]:
    """The rows of one step, of one rank or of all, as places among each dataset's kept rows.

    Raises:
        ConfigError: a step or rank that the plan has not.
    """
    try:
        batch = plan.batch(step, rank)
    except IndexError as error:
        raise ConfigError(f"epoch={plan.epoch}: {error}") from error
    facts = {"epoch": plan.epoch, "step": step, "dataset": batch.dataset}
    return facts | {"rank": rank, "rows": batch.rows.tolist()}
