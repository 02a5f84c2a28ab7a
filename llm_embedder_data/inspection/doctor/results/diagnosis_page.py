"""What the doctor found, as an HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llm_embedder_data.inspection.doctor.results.costs_in_words import (
    costs_in_words,
    refusal_in_words,
)
from llm_embedder_data.inspection.doctor.results.diagnosis import Diagnosis, dropped_in_words
from llm_embedder_data.inspection.doctor.results.findings import MEANING
from llm_embedder_data.inspection.html_page import bars, escaped, folded, page, section, table


def diagnosis_page(diagnosis: Diagnosis) -> str:
    """Return the page as HTML, complete in one file."""
    datasets = diagnosis["datasets"]
    summary = table(
        ["dataset", "format", "read", "kept", "dropped", "findings"],
        [
            (
                name,
                entry["format"],
                entry["read"],
                entry["kept"],
                dropped_in_words(entry),
                ", ".join(check for check, found in entry["checks"].items() if found["count"]),
            )
            for name, entry in datasets.items()
        ],
    )
    return page(
        "Data report",
        [
            *_refusal(diagnosis),
            section("Data sets", summary),
            section("Findings", _findings(diagnosis)),
            section("Lengths in tokens", _lengths(datasets)),
            section("What is kept, and what it costs", _costs(diagnosis)),
            *_plan(diagnosis["plan"]),
        ],
    )


def _refusal(diagnosis: Diagnosis) -> list[str]:
    lines = list(refusal_in_words(diagnosis))
    if not lines:
        return []
    reasons = "".join(f"<p>{escaped(line)}</p>" for line in lines[1:])
    return [section(lines[0].removesuffix(":").capitalize(), reasons)]


def _findings(diagnosis: Diagnosis) -> str:
    parts = []
    for name, check, found in diagnosis.findings():
        of = f" of {found['looked_at']:,} looked at" if "looked_at" in found else ""
        line = f"{name}: {check}: {found['count']:,.4g}{of} {MEANING[check]}"
        examples = table(
            ["file", "line", "text"],
            [(Path(at["file"]).name, at["line"], at["text"]) for at in found["examples"]],
        )
        parts.append(folded(line, examples if found["examples"] else ""))
    return "".join(parts) or "<p>No check found anything.</p>"


def _costs(diagnosis: Diagnosis) -> str:
    return "".join(f"<p>{escaped(line)}</p>" for line in costs_in_words(diagnosis))


def _lengths(datasets: dict[str, Any]) -> str:
    rows = []
    for name, entry in datasets.items():
        for side in ("query", "key"):
            lengths = entry.get("lengths", {}).get(side)
            if lengths:
                columns = ("p50", "p95", "p99", "max", "max_length")
                numbers = [int(lengths[column]) for column in columns]
                rows.append((name, side, *numbers, f"{lengths['truncated']:.1%}"))
    return table(["dataset", "side", "median", "95 %", "99 %", "longest", "limit", "cut off"], rows)


def _plan(plan: dict[str, Any] | None) -> list[str]:
    if plan is None:
        return []
    ranks = plan["num_replicas"]
    rows = [
        (
            name,
            dataset["task"],
            dataset["rows"],
            dataset["global_batch"],
            dataset["steps_per_epoch"],
            f"{dataset['share']:.1%}",
            dataset["left_out_per_pass"],
        )
        for name, dataset in plan["datasets"].items()
    ]
    names = ["dataset", "task", "rows", "global batch", "steps", "share", "left out a pass"]
    shares = {task: 100 * share for task, share in plan["tasks"].items()}
    title = f"The plan: {plan['steps_per_epoch']:,} steps an epoch on {ranks:,} ranks"
    padded = {layout: 100 * share for layout, share in plan["padding"].items()}
    return [
        section(title, table(names, rows), bars(shares, " % of the steps")),
        section("Padded share of an epoch by layout", bars(padded, " %")),
    ]
