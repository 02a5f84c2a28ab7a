"""The page of ``mine``: counts and histograms of the scores of mined negatives and positives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llm_embedder_data.inspection.html_page import Markup, escaped, page, section, table

_WIDTH, _HEIGHT = 640, 120


def mining_page(reports: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the page, in HTML.

    Args:
        reports: by dataset, the results of
            :func:`~llm_embedder_data.mining.mining_report.mining_report`.
    """
    sections = []
    for name, report in reports.items():
        counts = [[what, number] for what, number in report["counts"].items()]
        counts += [[f"negatives that {limit} leaves out", n] for limit, n in _limits(report)]
        plots = "".join(
            f"<h3>{escaped(what)} ({sum(bins):,})</h3>" + _histogram(bins, report["edges"])
            for what, bins in report["histograms"].items()
        )
        sections.append(section(name, table(["what", "number"], counts), Markup(plots)))
    return page("Mined negatives", sections)


def _limits(report: Mapping[str, Any]) -> list[tuple[str, int]]:
    return list(report["left_out"].items())


def _histogram(bins: Sequence[int], edges: Sequence[float]) -> str:
    most, width = max(max(bins), 1), _WIDTH / len(bins)
    bars = "".join(
        f'<rect x="{i * width:.1f}" y="{_HEIGHT - _HEIGHT * n / most:.1f}" width="{width - 1:.1f}" '
        f'height="{_HEIGHT * n / most:.1f}"><title>{edges[i]:.4g} to {edges[i + 1]:.4g}: {n:,}'
        "</title></rect>"
        for i, n in enumerate(bins)
        if n
    )
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT + 18}" width="{_WIDTH}" role="img">{bars}'
        f'<text x="0" y="{_HEIGHT + 14}">score {edges[0]:.4g}</text>'
        f'<text x="{_WIDTH}" y="{_HEIGHT + 14}" text-anchor="end">{edges[-1]:.4g}</text></svg>'
    )
