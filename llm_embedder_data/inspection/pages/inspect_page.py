"""The page of ``inspect``: a decoded batch, plots of the training data, and the report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from llm_embedder_data.core.printable import one_line
from llm_embedder_data.inspection.batch_view.shown_batch import ShownBatch
from llm_embedder_data.inspection.html_page import escaped
from llm_embedder_data.inspection.pages.plot_data import MOST_COMPARED_ROWS
from llm_embedder_data.inspection.pages.plots import (
    PLOT_STYLE,
    grouped_bars,
    histogram,
    lines,
    stacked,
)
from llm_embedder_data.inspection.pages.tabbed_page import tabbed_page
from llm_embedder_data.inspection.report import Report


def inspect_page(batch: ShownBatch, report: Report, plots: Mapping[str, Any]) -> str:
    """Return the page, in HTML.

    Args:
        batch: the decoded batch.
        report: the report of the data.
        plots: the result of :func:`~llm_embedder_data.inspection.pages.plot_data.plot_data`.
    """
    where = "all ranks" if batch["rank"] is None else f"rank {batch['rank']}"
    title = f"Epoch {batch['epoch']}, step {batch['step']}, {where}: {one_line(batch['dataset'])}"
    tabs = {
        "Batch": batch._repr_html_(),
        "Lengths": _grid(_lengths(plots)),
        "Scores": _grid(_scores(plots)) or "<p>No dataset has teacher scores.</p>",
        "Tasks": _grid([_tasks(plots)]),
        "Padding": _grid([_padding(plots)]),
        "Coverage": _grid([_coverage(plots)]),
        "Collisions": _grid(_collisions(plots)),
        "Data": f'<div class="scroll">{report._repr_html_()}</div>',
    }
    return tabbed_page(title, tabs, style=PLOT_STYLE)


def _grid(figures: Iterable[str]) -> str:
    content = "".join(figures)
    return f'<div class="plots">{content}</div>' if content else ""


def _lengths(plots: Mapping[str, Any]) -> Iterable[str]:
    for dataset, sides in plots["lengths"].items():
        n_batches = len(plots["sampled_steps"][dataset])
        for side, lengths in sides.items():
            limit = lengths["limit"]
            yield histogram(
                f"{dataset}: {'pairs' if side == 'cross' else side}",
                {"tokens": lengths["counts"]},
                lengths["edges"],
                about=f"as the model gets them, in {n_batches} batches; limit {limit}, "
                f"{lengths['at_limit']:.1%} as long as that",
                limits={f"limit {limit}": limit},
            )


def _scores(plots: Mapping[str, Any]) -> Iterable[str]:
    for dataset, scores in plots["scores"].items():
        counts = {name: scores[name] for name in ("positive", "negative")}
        yield histogram(
            dataset,
            counts,
            scores["edges"],
            about="teacher scores of chosen keys, as the loss gets them",
        )


def _tasks(plots: Mapping[str, Any]) -> str:
    tasks = plots["tasks"]
    return stacked(
        "Tasks over the steps of the epoch",
        tasks["shares"],
        (0, tasks["steps"]),
        about=f"share of the steps, epoch {plots['epoch']}, {tasks['steps']:,} steps",
    )


def _padding(plots: Mapping[str, Any]) -> str:
    return grouped_bars(
        "Padding by layout",
        plots["padding"],
        about="share of the tokens that the model computes on which are padding; same batches",
    )


def _coverage(plots: Mapping[str, Any]) -> str:
    how = "counted" if plots["coverage_is_exact"] else "computed from sizes, as there are many rows"
    return lines(
        "Rows seen",
        plots["coverage"],
        [str(epoch + 1) for epoch in range(plots["epochs"])],
        about=f"share of the kept rows that some step held, after 1, 2, ... epochs; {how}",
        unit="percent",
    )


def _collisions(plots: Mapping[str, Any]) -> Iterable[str]:
    counted = {name: found for name, found in plots["collisions"].items() if found is not None}
    worlds: list[int] = max((found["worlds"] for found in counted.values()), key=len, default=[])
    if worlds:
        yield lines(
            "Collisions by number of ranks",
            {
                name: found["pairs"] + [None] * (len(worlds) - len(found["pairs"]))
                for name, found in counted.items()
            },
            [str(world) for world in worlds],
            about="pairs (query, positive of another row) in a global batch where that key is a "
            "known positive too, expected; the loss masks them. A line ends where a global batch "
            "would exceed the dataset",
        )
    for name, found in plots["collisions"].items():
        if found is None:
            yield (
                f"<p>{escaped(one_line(name))} has more than {MOST_COMPARED_ROWS:,} rows, whose "
                "texts are not compared here; prepare does.</p>"
            )
