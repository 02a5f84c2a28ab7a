"""Showing the plan of a run before it starts, for any number of ranks: as data and as a table."""

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
from llm_embedder_data.rows.faults.row_locations import locations_of
from llm_embedder_data.rows.train_set import TrainSet


def plan_summary(plan: EpochPlan, train_sets: Mapping[str, TrainSet]) -> dict[str, Any]:
    """Summarize an epoch of a plan in plain Python.

    Args:
        plan: the plan of any epoch.
        train_sets: its training sets, by name.

    Returns:
        ``steps_per_epoch``, ``num_replicas``, ``organize_method``, ``remainder``, ``seed``,
        ``tasks`` ({task: share of the steps}) and ``datasets`` by name. Each dataset has ``task``,
        ``files``, ``rows`` (number of rows that may be trained on), ``batch_size`` (per rank),
        ``global_batch``, ``steps_per_epoch``, ``share`` (of the steps), ``rows_per_epoch`` (rows
        drawn, repeats included), ``passes_per_epoch``, ``left_out_per_pass`` (rows) and
        ``even_after_passes`` (the number of passes after which all rows were left out equally
        often; None for never). If datasets are drawn at random, steps and the values that depend on
        them are expected values. A dataset that is smaller than a global batch may have no steps.
    """
    datasets: dict[str, dict[str, Any]] = {}
    shares: dict[str, float] = {}
    for name, n_rows in plan.sizes.items():
        task, global_batch = train_sets[name].task, plan.global_batch(name)
        steps = plan.steps.get(name, 0)
        share = steps / len(plan)
        shares[task] = shares.get(task, 0.0) + share
        left_out = n_rows % global_batch if n_rows >= global_batch else n_rows * (not steps)
        rotates = plan.remainder == "rotate" and plan.organize_method not in (
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
            "even_after_passes": n_rows // gcd(n_rows, left_out) if rotates and steps else None,
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


def plan_table(summary: Mapping[str, Any]) -> RenderableType:
    """Return the result of :func:`plan_summary` as tables, for a rich console."""
    ranks, steps = summary["num_replicas"], summary["steps_per_epoch"]
    title = f"{steps:,} steps an epoch on {ranks:,} ranks ({summary['organize_method']})"
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
    for name, entry in summary["datasets"].items():
        table.add_row(
            one_line(name),
            one_line(entry["task"]),
            f"{entry['rows']:,}",
            f"{entry['batch_size']:,} x {ranks:,}",
            f"{entry['steps_per_epoch']:,}",
            f"{entry['share']:.1%}",
            f"{entry['rows_per_epoch']:,}",
            f"{entry['passes_per_epoch']:.4g}",
            f"{entry['left_out_per_pass']:,}",
        )
    tasks = Table("task", title="Share of the steps", box=SIMPLE_HEAD)
    tasks.add_column("share", justify="right")
    for task, share in summary["tasks"].items():
        tasks.add_row(one_line(task), f"{share:.1%}")
    return Group(table, tasks, *_notes(summary))


def _notes(summary: Mapping[str, Any]) -> Iterator[str]:
    """Yield sentences on which rows are left out and which datasets are dropped."""
    entries = summary["datasets"].values()
    if summary["organize_method"] == "random":
        yield "Datasets are drawn at random: steps, rows and passes are expected values."
    elif any(entry["even_after_passes"] for entry in entries):
        yield (
            "Rows that are left out take turns: each has sat out equally often after "
            f"{max(entry['even_after_passes'] or 0 for entry in entries):,} passes at the latest."
        )
    elif any(entry["left_out_per_pass"] for entry in entries):
        yield "Rows that are left out are the same in every pass."
    datasets = summary["datasets"].items()
    if dropped := [name for name, entry in datasets if not entry["steps_per_epoch"]]:
        yield f"Smaller than a global batch, and dropped: {', '.join(map(one_line, dropped))}."


def step_rows(
    plan: EpochPlan, train_sets: Mapping[str, TrainSet], step: int, rank: int | None = None
) -> dict[str, Any]:
    """Return the rows of a step, on a given rank or on all ranks, in plain Python.

    Args:
        plan: the plan of the epoch.
        train_sets: its training sets, by name.
        step: the step, from 0.
        rank: the rank; None for all ranks.

    Returns:
        ``epoch``, ``step``, ``rank``, ``dataset``, ``task``; ``rows``, row numbers in the batch's
        order, counted from 0 through all files of the dataset, as in a batch's ``row``; and
        ``files`` ({file: record numbers, counted from 0 in the file}).

    Raises:
        ConfigError: the plan has no such step or rank.
    """
    try:
        batch = plan.batch(step, rank)
    except IndexError as error:
        raise ConfigError(f"epoch={plan.epoch}: {error}") from error
    train_set = train_sets[batch.dataset]
    rows = train_set.kept[batch.rows].tolist()
    return {
        "epoch": plan.epoch,
        "step": step,
        "rank": rank,
        "dataset": batch.dataset,
        "task": train_set.task,
        "rows": rows,
        "files": _rows_by_file(train_set, rows),
    }


def _rows_by_file(train_set: TrainSet, rows: list[int]) -> dict[str, list[int]]:
    """Return the record numbers of rows, by file, counted from 0 in each file."""
    files: dict[str, list[int]] = {}
    locations = locations_of(train_set.rows)
    if locations is not None:
        for row in rows:
            file, number, _ = locations.at(row) or (train_set.files[0], row, None)
            files.setdefault(file, []).append(number)
        return files
    start = 0
    for file, n_rows in zip(train_set.files, train_set.n_rows, strict=True):
        if in_file := [row - start for row in rows if start <= row < start + n_rows]:
            files[file] = in_file
        start += n_rows
    return files


def step_text(summary: Mapping[str, Any]) -> str:
    """Return the result of :func:`step_rows` as text."""
    ranks = "all ranks" if summary["rank"] is None else f"rank {summary['rank']}"
    lines = [
        f"Epoch {summary['epoch']}, step {summary['step']}, {ranks}: {len(summary['rows'])} rows "
        f"of {one_line(summary['dataset'])} ({one_line(summary['task'])}), counted from 0 in"
    ]
    lines += [
        f"  {one_line(file)}: {', '.join(map(str, rows))}"
        for file, rows in summary["files"].items()
    ]
    return "\n".join(lines)
