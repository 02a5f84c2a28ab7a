"""The doctor's results, as an HTML page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llm_embedder_data.core.printable import beginning, one_line
from llm_embedder_data.inspection.doctor.results.advice import ADVICE
from llm_embedder_data.inspection.doctor.results.costs_in_words import (
    costs_in_words,
    refusal_in_words,
)
from llm_embedder_data.inspection.doctor.results.diagnosis import Diagnosis, dropped_in_words
from llm_embedder_data.inspection.doctor.results.findings import MEANING, Check, count_in_words
from llm_embedder_data.inspection.doctor.results.summary_tables import (
    LENGTH_NAMES,
    PLAN_NAMES,
    length_rows,
    plan_rows,
    plan_title,
)
from llm_embedder_data.inspection.html_page import (
    Markup,
    escaped,
    folded,
    isolated,
    page,
    section,
    table,
)
from llm_embedder_data.inspection.pages.plots import PLOT_STYLE, grouped_bars

_MOST_NAMED = 3  # datasets in the line of a check
_LONGEST_NAME = 60  # characters

_STYLE = """
.examples { list-style: none; margin: .4rem 0; padding: 0 }
.examples li { padding: .3rem 0; border-top: 1px solid var(--line) }
.examples .faint { display: block }
"""


def diagnosis_page(diagnosis: Diagnosis) -> str:
    """Return the page as HTML, which needs no other file."""
    datasets = diagnosis["datasets"]
    summary = table(
        ["dataset", "format", "read", "kept", "dropped", "findings"],
        [
            (
                one_line(name),
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
            _intro(datasets),
            *_refusal(diagnosis),
            section("Datasets", summary),
            section("Findings", _findings(diagnosis)),
            section("Lengths in tokens", _lengths(datasets)),
            section("What is kept, and what it costs", _costs(diagnosis)),
            *_plan(diagnosis["plan"]),
        ],
        style=PLOT_STYLE + _STYLE,
    )


def _intro(datasets: Mapping[str, Any]) -> str:
    read, kept = (sum(entry[what] for entry in datasets.values()) for what in ("read", "kept"))
    of_sets = f"{len(datasets):,} dataset{'s' * (len(datasets) != 1)}"
    return (
        f"<p>{of_sets} with {read:,} rows were read, and {kept:,} rows are kept. A bad row is "
        "dropped, under the reason that the table gives. A finding is something to look at: its "
        "rows are used as they are.</p>"
    )


def _refusal(diagnosis: Diagnosis) -> list[str]:
    lines = list(refusal_in_words(diagnosis))
    if not lines:
        return []
    reasons = "".join(f"<p>{escaped(line)}</p>" for line in lines[1:])
    return [section(lines[0].removesuffix(":").capitalize(), reasons)]


def _findings(diagnosis: Diagnosis) -> str:
    by_check: dict[Check, list[tuple[str, Mapping[str, Any]]]] = {}
    for name, check, found in diagnosis.findings():
        by_check.setdefault(check, []).append((name, found))
    parts = []
    for check, of_sets in by_check.items():
        counts = [f"{count_in_words(found)} in {_name(name)}" for name, found in of_sets]
        more = len(counts) - _MOST_NAMED
        named = ", ".join(counts[:_MOST_NAMED]) + (
            f", and {more:,} more datasets" if more > 0 else ""
        )
        summary = Markup(
            f"<strong>{escaped(MEANING[check])}</strong> (<code>{escaped(check)}</code>): {named}"
        )
        examples = [
            folded(
                Markup(f"{_name(name)}: {count_in_words(found)}"), _examples(found), is_open=not n
            )
            for n, (name, found) in enumerate(of_sets)
            if found["examples"]
        ]
        parts.append(folded(summary, f"<p>{escaped(ADVICE[check])}</p>", *examples))
    return "".join(parts) or "<p>No check found anything.</p>"


def _name(dataset: str) -> str:
    return isolated(beginning(one_line(dataset), _LONGEST_NAME))


def _examples(found: Mapping[str, Any]) -> str:
    items = []
    for example in found["examples"]:
        match = ""
        if "match" in example:
            match = _example(example["match"], f"{example['similarity']:.0%} like ")
        items.append(f"<li>{_example(example)}{match}</li>")
    more = found["count"] - len(found["examples"])
    if more >= 1:
        items.append(f'<li class="faint">and {more:,.0f} more</li>')
    return f'<ul class="examples">{"".join(items)}</ul>'


def _example(example: Mapping[str, Any], before: str = "") -> str:
    file = Path(example["file"])
    line = "" if example["line"] is None else f":{example['line']}"
    where = f"{file.parent.name}/{file.name}{line}" if file.parent.name else f"{file}{line}"
    return (
        f'<span class="faint" title="{escaped(one_line(file))}">{before}'
        f'<bdi dir="ltr">{escaped(one_line(where))}</bdi></span>'
        f"{isolated(example['text'])}"
    )


def _costs(diagnosis: Diagnosis) -> str:
    plots = [
        grouped_bars(
            f"Hard negatives a row: {one_line(name)}",
            {n: {"rows": n_rows} for n, n_rows in figures["rows"].items()},
            about="kept rows, by the number of their hard negatives before limits",
            unit="number",
        )
        for name, entry in diagnosis["datasets"].items()
        if (figures := entry.get("selection", {}).get("negatives_per_row"))
        and len(figures["rows"]) > 1
    ]
    words = "".join(f"<p>{escaped(line)}</p>" for line in costs_in_words(diagnosis))
    return words + f'<div class="plots">{"".join(plots)}</div>' * bool(plots)


def _lengths(datasets: Mapping[str, Any]) -> str:
    return (
        "<p>A key is a passage that a query is matched against. 95 % of the texts are at most as "
        "long as the column 95 % says. Tokens beyond the limit are cut off.</p>"
        + table(LENGTH_NAMES, length_rows(datasets))
    )


def _plan(plan: Mapping[str, Any] | None) -> list[str]:
    if plan is None:
        return []
    plots = grouped_bars(
        "Tasks",
        {task: {"share": share} for task, share in plan["tasks"].items()},
        about="share of the steps of an epoch",
    ) + grouped_bars(
        "Padding by layout",
        {layout: {"padding": share} for layout, share in plan["padding"].items()},
        about="share of the tokens that the model computes on which are padding (data.layout)",
    )
    return [
        section(
            plan_title(plan),
            "<p>All rows of a step come from one dataset. A global batch is what all ranks train "
            "on in one step; rows that fill no global batch are left out of a pass.</p>",
            table(PLAN_NAMES, plan_rows(plan)),
            f'<div class="plots">{plots}</div>',
        )
    ]
