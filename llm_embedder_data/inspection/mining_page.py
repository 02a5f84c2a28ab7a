"""The page of ``mine``: counts and histograms of the scores of mined negatives and positives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm_embedder_data.core.printable import one_line
from llm_embedder_data.inspection.html_page import escaped, page, section, table
from llm_embedder_data.inspection.pages.plots import PLOT_STYLE, histogram

_INTRO = (
    "<p>For each query, these passages score best among those that are not known to answer it. "
    "Some may answer it all the same. Where the scores of negatives reach those of positives, a "
    "limit such as data.relative_margin leaves the doubtful ones out of training; the file has "
    "them all.</p>"
)


def mining_page(reports: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the page as HTML.

    Args:
        reports: results of :func:`~llm_embedder_data.mining.mining_report.mining_report`, by
            dataset.
    """
    sections = [_INTRO]
    for name, report in reports.items():
        counts = [[what, number] for what, number in report["counts"].items()]
        counts += [
            [f"negatives that {limit} leaves out", n] for limit, n in report["left_out"].items()
        ]
        plots = "".join(
            _histogram(what, bins, report) for what, bins in report["histograms"].items()
        )
        plots = f'<div class="plots">{plots}</div>'
        sections.append(section(one_line(name), table(["what", "number"], counts), plots))
    return page("Mined negatives", sections, style=PLOT_STYLE)


def _histogram(what: str, bins: list[int], report: Mapping[str, Any]) -> str:
    titles = {"positives": "Positives", "negatives": "Negatives", "kept": "Negatives that are kept"}
    title = titles.get(what, f"Negatives that {what} leaves out")
    if not sum(bins):
        return f"<p>{escaped(title)}: none.</p>"
    return histogram(
        title,
        {what: bins},
        report["edges"],
        about=f"share of the {sum(bins):,} by their score",
    )
