"""What a run will do, before it does it: the plan of a configuration for any number of ranks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import gcd
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table

from llm_embedder_data.batches.plan.epoch_plan import EpochPlan
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.core.printable import one_line
from llm_embedder_data.rows.train_sets import TrainSet


def plan_facts(plan: EpochPlan, train_sets: Mapping[str, TrainSet]) -> dict[str, Any]:
    """An epoch of a plan in numbers, in plain Python.

    Args:
        plan: of any epoch.
        train_sets: that it plans, by name.

    Returns:
        ``steps_per_epoch``, ``num_replicas``, ``organize_method``, ``remainder``, ``seed``,
        ``tasks`` ({task: share of the steps}) and ``datasets``: for each its task, files, rows
        (trained on), batch_size (per rank), global_batch, steps_per_epoch, share (of the steps),
        rows_per_epoch (drawn), passes_per_epoch, left_out_per_pass (rows that sit a pass out) and
        even_after_passes (after so many, all rows have sat out equally often; None for never).
        Where datasets are drawn at random, steps and what follows from them are expectations. A
        dataset that is smaller than a global batch may have no step.
    """
    datasets: dict[str, dict[str, Any]] = {}
    shares: dict[str, float] = {}
    for name, n_rows in plan.sizes.items():
        task, global_batch = train_sets[name].task, plan.global_batch(name)
        steps = plan.steps.get(name, 0)
        share = steps / len(plan)
        shares[task] = shares.get(task, 0.0) + share
        left_out = n_rows % global_batch if n_rows >= global_batch else n_rows * (not steps)
        turns = plan.remainder == "rotate" and plan.organize_method not in (
            "epoch-static",
            "random",
        )
        datasets[name] = {
            "task": task,
            "files": list(train_sets[name].files),
            "rows": n_rows,
            "batch_size": plan.batch_size[name],
            "global_batch": global_batch,
            "steps_per_epoch": steps,
            "share": share,
            "rows_per_epoch": steps * global_batch,
            "passes_per_epoch": steps / max(1, n_rows // global_batch),
            "left_out_per_pass": left_out,
            "even_after_passes": n_rows // gcd(n_rows, left_out) if turns and steps else None,
        }
    return {
        "num_replicas": plan.num_replicas,
        "organize_method": plan.organize_method,
        "remainder": plan.remainder,
        "seed": plan.seed,
        "steps_per_epoch": len(plan),
        "tasks": shares,
        "datasets": datasets,
    }


def plan_table(facts: Mapping[str, Any]) -> RenderableType:
    """:func:`plan_facts` to look at."""
    ranks, steps = facts["num_replicas"], facts["steps_per_epoch"]
    title = f"{steps:,} steps an epoch on {ranks:,} ranks ({facts['organize_method']})"
    table = Table(title=title, box=SIMPLE_HEAD, padding=0)  # nine columns in 80 characters
    for name in ("dataset", "task"):
        table.add_column(name, overflow="fold")
    for name in (
        "rows",
        "global batch",
        "steps",
        "share",
        "rows an epoch",
        "passes an epoch",
        "left out a pass",
    ):
        table.add_column(name, justify="right", overflow="fold")
    for name, one in facts["datasets"].items():
        table.add_row(
            one_line(name),
            one_line(one["task"]),
            f"{one['rows']:,}",
            f"{one['batch_size']:,} x {ranks:,}",
            f"{one['steps_per_epoch']:,}",
            f"{one['share']:.1%}",
            f"{one['rows_per_epoch']:,}",
            f"{one['passes_per_epoch']:.4g}",
            f"{one['left_out_per_pass']:,}",
        )
    tasks = Table("task", title="Share of the steps", box=SIMPLE_HEAD)
    tasks.add_column("share", justify="right")
    for task, share in facts["tasks"].items():
        tasks.add_row(one_line(task), f"{share:.1%}")
    return Group(table, tasks, *_notes(facts))


def _notes(facts: Mapping[str, Any]) -> Iterator[str]:
    """What the columns leave open."""
    datasets = facts["datasets"].values()
    if facts["organize_method"] == "random":
        yield "Datasets are drawn at random: steps, rows and passes are what is to be expected."
    elif any(one["even_after_passes"] for one in datasets):
        yield (
            "Rows that are left out take turns: each has sat out equally often after "
            f"{max(one['even_after_passes'] or 0 for one in datasets):,} passes at the latest."
        )
    elif any(one["left_out_per_pass"] for one in datasets):
        yield "Rows that are left out are the same in every pass."
    if dropped := [name for name, one in facts["datasets"].items() if not one["steps_per_epoch"]]:
        yield f"Smaller than a global batch, and dropped: {', '.join(map(one_line, dropped))}."


def step_facts(
    plan: EpochPlan, train_sets: Mapping[str, TrainSet], step: int, rank: int | None = None
) -> dict[str, Any]:
    """The rows of one step, of one rank or of all, in plain Python.

    Returns:
        ``epoch``, ``step``, ``rank``, ``dataset``, ``task``, ``rows`` in the batch's order (as a
        batch's ``row`` has them: counted from 0 through the dataset's files), and ``files``: {file:
        its rows, counted from 0 in the file}.

    Raises:
        ConfigError: a step or rank that the plan has not.
    """
    try:
        batch = plan.batch(step, rank)
    except IndexError as error:
        raise ConfigError(f"epoch={plan.epoch}: {error}") from error
    train_set = train_sets[batch.dataset]
    rows = train_set.kept[batch.rows].tolist()
    files: dict[str, list[int]] = {}
    first = 0
    for file, n_rows in zip(train_set.files, train_set.n_rows, strict=True):
        if own := [row - first for row in rows if first <= row < first + n_rows]:
            files[file] = own
        first += n_rows
    return {
        "epoch": plan.epoch,
        "step": step,
        "rank": rank,
        "dataset": batch.dataset,
        "task": train_set.task,
        "rows": rows,
        "files": files,
    }


def step_text(facts: Mapping[str, Any]) -> str:
    """:func:`step_facts` to look at."""
    whose = "all ranks" if facts["rank"] is None else f"rank {facts['rank']}"
    lines = [
        f"Epoch {facts['epoch']}, step {facts['step']}, {whose}: {len(facts['rows'])} rows of "
        f"{one_line(facts['dataset'])} ({one_line(facts['task'])}), counted from 0 in"
    ]
    lines += [
        f"  {one_line(file)}: {', '.join(map(str, rows))}" for file, rows in facts["files"].items()
    ]
    return "\n".join(lines)
