"""The page of ``inspect``: a decoded batch, plots of the training data, and the report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from llm_embedder_data.core.printable import beginning, one_line
from llm_embedder_data.inspection.batch_view.shown_batch import ShownBatch
from llm_embedder_data.inspection.html_page import escaped, folded
from llm_embedder_data.inspection.pages.plot_data import MOST_COMPARED_ROWS
from llm_embedder_data.inspection.pages.plots import (
    N_COLOURS,
    PLOT_STYLE,
    grouped_bars,
    histogram,
    lines,
    stacked,
)
from llm_embedder_data.inspection.pages.tabbed_page import tabbed_page
from llm_embedder_data.inspection.report import Report

_LONGEST_NAME = 60  # characters
_MOST_OPEN = 24  # plots of a tab that are not folded, and datasets of a plot

_INTRO = (
    '<p class="faint">One batch of this run as the model gets it, and plots of all its training '
    "data. Each is measured or computed by the code that trains.</p>"
)
_ABOUT_BATCH = (
    '<p class="faint">Each box is a query with its keys, the passages that it is matched against: '
    "a positive (pos) answers it, a negative (neg) does not. The number says which of the row's "
    "positives or negatives it is.</p>"
)


def inspect_page(batch: ShownBatch, report: Report, plots: Mapping[str, Any]) -> str:
    """Return the page as HTML.

    Args:
        batch: the decoded batch.
        report: the report of the data.
        plots: the result of :func:`~llm_embedder_data.inspection.pages.plot_data.plot_data`.
    """
    where = "all ranks" if batch["rank"] is None else f"rank {batch['rank']}"
    dataset = beginning(one_line(batch["dataset"]), _LONGEST_NAME)
    title = f"Epoch {batch['epoch']}, step {batch['step']}, {where}: {dataset}"
    tabs = {
        "Batch": _ABOUT_BATCH + batch._repr_html_(),
        "Lengths": _grid(_lengths(plots)),
        "Scores": _grid(_scores(plots)) or "<p>No dataset has teacher scores.</p>",
        "Tasks": _grid([_tasks(plots)]),
        "Padding": _grid(_padding(plots)),
        "Coverage": _grid([_coverage(plots)]),
        "Collisions": _grid(_collisions(plots)),
        "Data": report._repr_html_(),
    }
    return tabbed_page(title, tabs, intro=_INTRO, style=PLOT_STYLE)


def _grid(figures: Iterable[str]) -> str:
    """Return the figures in columns; if there are many, all but the first are folded."""
    figures = list(figures)
    shown, more = figures[:_MOST_OPEN], figures[_MOST_OPEN:]
    content = f'<div class="plots">{"".join(shown)}</div>' if shown else ""
    if more:
        content += folded(f"{len(more):,} more", f'<div class="plots">{"".join(more)}</div>')
    return content


def _lengths(plots: Mapping[str, Any]) -> Iterable[str]:
    for dataset, sides in plots["lengths"].items():
        name = beginning(one_line(dataset), _LONGEST_NAME)
        n_batches = len(plots["sampled_steps"][dataset])
        for side, lengths in sides.items():
            limit = lengths["limit"]
            yield histogram(
                f"{name}: {'pairs' if side == 'cross' else side}",
                {"tokens": lengths["counts"]},
                lengths["edges"],
                about=f"share of the texts by their length in tokens, in {_batches(n_batches)}; "
                f"{lengths['at_limit']:.1%} are as long as the limit, beyond which text is cut off",
                limits={f"limit {limit}": limit},
            )


def _scores(plots: Mapping[str, Any]) -> Iterable[str]:
    for dataset, scores in plots["scores"].items():
        counts = {name: scores[name] for name in ("positive", "negative")}
        yield histogram(
            beginning(one_line(dataset), _LONGEST_NAME),
            counts,
            scores["edges"],
            about="share of the positives and of the negatives by teacher score, as the loss gets "
            "it",
        )


def _tasks(plots: Mapping[str, Any]) -> str:
    tasks = plots["tasks"]
    return stacked(
        "Tasks over the steps of the epoch",
        _together(tasks["shares"]),
        (0, tasks["steps"]),
        about=f"share of the steps, from the first to the last of the {tasks['steps']:,} steps of "
        f"epoch {plots['epoch']}",
    )


def _together(shares: Mapping[str, list[float]]) -> dict[str, list[float]]:
    """Return the shares; if a plot has too few colours, the last tasks are added up."""
    if len(shares) <= N_COLOURS:
        return dict(shares)
    names = list(shares)
    shown = {name: shares[name] for name in names[: N_COLOURS - 1]}
    others = names[N_COLOURS - 1 :]
    summed = [sum(column) for column in zip(*(shares[name] for name in others), strict=True)]
    return shown | {f"{len(others):,} other tasks": summed}


def _padding(plots: Mapping[str, Any]) -> Iterable[str]:
    padding = list(plots["padding"].items())
    for start in range(0, len(padding), _MOST_OPEN):
        yield grouped_bars(
            "Padding by layout",
            dict(padding[start : start + _MOST_OPEN]),
            about="share of the tokens that the model computes on which are padding, in the same "
            "batches under each data.layout",
        )


def _coverage(plots: Mapping[str, Any]) -> str:
    how = "counted" if plots["coverage_is_exact"] else "computed from sizes, as there are many rows"
    coverage = plots["coverage"]
    least = sorted(coverage, key=lambda name: coverage[name][-1])[:N_COLOURS]
    return lines(
        "Rows seen",
        {name: shares for name, shares in coverage.items() if name in least},
        [str(epoch + 1) for epoch in range(plots["epochs"])],
        about="share of the kept rows that training has used after 1, 2, ... epochs; "
        + how
        + _only(least, coverage, "with the fewest rows used"),
        unit="percent",
    )


def _collisions(plots: Mapping[str, Any]) -> Iterable[str]:
    counted = {name: found for name, found in plots["collisions"].items() if found is not None}
    most = sorted(counted, key=lambda name: -max(counted[name]["pairs"]))[:N_COLOURS]
    worlds: list[int] = max((counted[name]["worlds"] for name in most), key=len, default=[])
    if worlds:
        yield lines(
            "Collisions by number of ranks",
            {
                name: found["pairs"] + [None] * (len(worlds) - len(found["pairs"]))
                for name, found in counted.items()
                if name in most
            },
            [str(world) for world in worlds],
            about="how many keys of other rows in a global batch answer a query as well, on "
            "average; the loss leaves them out. A line ends where a global batch would have more "
            "rows than the dataset" + _only(most, counted, "with the most collisions"),
        )
    for name, found in plots["collisions"].items():
        if found is None:
            yield (
                f"<p>{escaped(one_line(name))} has more than {MOST_COMPARED_ROWS:,} rows, whose "
                "texts are not compared here; prepare does.</p>"
            )


def _only(shown: Sequence[str], of: Mapping[str, Any], which: str) -> str:
    if len(shown) == len(of):
        return ""
    return f". Shown are the {len(shown)} of {len(of):,} datasets {which}; json= has all"


def _batches(number: int) -> str:
    return f"{number:,} batch{'es' * (number != 1)}"
