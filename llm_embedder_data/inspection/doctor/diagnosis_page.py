"""The doctor's findings as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llm_embedder_data.inspection.doctor.costs_in_words import costs_in_words
from llm_embedder_data.inspection.doctor.diagnosis import Diagnosis
from llm_embedder_data.inspection.doctor.findings import MEANING
from llm_embedder_data.inspection.html_page import bars, escaped, folded, page, section, table


def diagnosis_page(diagnosis: Diagnosis) -> str:
    """The page, in HTML."""
    datasets = diagnosis["datasets"]
    summary = table(
        ["dataset", "format", "read", "kept", "dropped", "findings"],
        [
            (
                name,
                entry["format"],
                entry["read"],
                entry["kept"],
                ", ".join(f"{n:,} {reason}" for reason, n in entry["dropped"].items()),
                ", ".join(check for check, one in entry["checks"].items() if one["count"]),
            )
            for name, entry in datasets.items()
        ],
    )
    return page(
        "Data report",
        [
            section("Data sets", summary),
            section("Findings", _findings(diagnosis)),
            section("Lengths in tokens", _lengths(datasets)),
            section("What is kept, and what it costs", _costs(diagnosis)),
            *_plan(diagnosis["plan"]),
        ],
    )


def _findings(diagnosis: Diagnosis) -> str:
    parts = []
    for name, check, found in diagnosis.findings():
        of = f" of {found['looked_at']:,} looked at" if "looked_at" in found else ""
        line = f"{name}: {check}: {found['count']:,.4g}{of} {MEANING[check]}"
        examples = table(
            ["file", "line", "text"],
            [(Path(one["file"]).name, one["line"], one["text"]) for one in found["examples"]],
        )
        parts.append(folded(line, examples if found["examples"] else ""))
    return "".join(parts) or "<p>No check found anything.</p>"


def _costs(diagnosis: Diagnosis) -> str:
    return "".join(f"<p>{escaped(line)}</p>" for line in costs_in_words(diagnosis))


def _lengths(datasets: dict[str, Any]) -> str:
    rows = []
    for name, entry in datasets.items():
        for side in ("query", "key"):
            own = entry.get("lengths", {}).get(side)
            if own:
                numbers = [int(own[one]) for one in ("p50", "p95", "p99", "max", "max_length")]
                rows.append((name, side, *numbers, f"{own['truncated']:.1%}"))
    return table(["dataset", "side", "median", "95 %", "99 %", "longest", "limit", "cut off"], rows)


def _plan(plan: dict[str, Any] | None) -> list[str]:
    if plan is None:
        return []
    ranks = plan["num_replicas"]
    rows = [
        (
            name,
            one["task"],
            one["rows"],
            one["global_batch"],
            one["steps_per_epoch"],
            f"{one['share']:.1%}",
            one["left_out_per_pass"],
        )
        for name, one in plan["datasets"].items()
    ]
    names = ["dataset", "task", "rows", "global batch", "steps", "share", "left out a pass"]
    shares = {task: 100 * share for task, share in plan["tasks"].items()}
    title = f"The plan: {plan['steps_per_epoch']:,} steps an epoch on {ranks:,} ranks"
    padded = {layout: 100 * share for layout, share in plan["padding"].items()}
    return [
        section(title, table(names, rows), bars(shares, " % of the steps")),
        section("Padded share of an epoch by layout", bars(padded, " %")),
    ]
