"""Building blocks of a self-contained HTML page, for light and dark themes and any width.

A page needs no script and no other file.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any

from llm_embedder_data.core.printable import printable

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --paper: #fff; --line: #d8dde3; --soft: #f4f6f8;
  --accent: #2563a8; --warn: #a8500f; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7eb; --paper: #14171a; --line: #333a42;
  --soft: #1d2226; --accent: #7ab4f0; --warn: #f0a35e; } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 72rem; padding: 1rem; color: var(--ink); background: var(--paper);
  font: 16px/1.5 system-ui, sans-serif }
h1 { font-size: 1.5rem } h2 { font-size: 1.2rem; margin-top: 2rem }
.scroll { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-size: .9rem }
th, td { text-align: left; padding: .35rem .6rem; border-bottom: 1px solid var(--line);
  vertical-align: top; overflow-wrap: break-word }
th { white-space: nowrap } td:first-child { white-space: nowrap } td:last-child { min-width: 14rem }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
details { margin: .5rem 0; padding: .4rem .6rem; background: var(--soft); border-radius: .4rem }
summary { cursor: pointer } code { font-size: .85em; overflow-wrap: anywhere }
.found { color: var(--warn); font-weight: 600 }
svg { max-width: 100%; height: auto } svg text { fill: var(--ink); font-size: 11px }
svg rect { fill: var(--accent) }
"""


def page(title: str, sections: Iterable[str]) -> str:
    """Return a page.

    Args:
        title: plain text.
        sections: HTML.
    """
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escaped(title)}</title><style>{_STYLE}</style></head>"
        f"<body><h1>{escaped(title)}</h1>{''.join(sections)}</body></html>\n"
    )


def section(title: str, *content: str) -> str:
    """Return a heading (plain text) and the HTML below it."""
    return f"<h2>{escaped(title)}</h2>{''.join(content)}"


def table(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table. Columns of numbers are aligned right.

    Args:
        names: the names of the columns.
        rows: a value for each column. HTML must be a :class:`Markup`; any other text is escaped.
    """
    rows = list(rows)
    numeric = [
        bool(rows) and all(isinstance(row[i], int | float | None) for row in rows)
        for i in range(len(names))
    ]
    kinds = [' class="number"' if is_numeric else "" for is_numeric in numeric]
    head = "".join(
        f"<th{kind}>{escaped(name)}</th>" for kind, name in zip(kinds, names, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(f"<td{kind}>{_cell(cell)}</td>" for kind, cell in zip(kinds, row, strict=True))
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
        "</div>"
    )


def folded(summary: str, *content: str) -> str:
    """Return HTML that is hidden until a click on its summary (plain text)."""
    return f"<details><summary>{escaped(summary)}</summary>{''.join(content)}</details>"


def bars(values: dict[str, float], unit: str = "") -> str:
    """Return a bar chart of a few values by name, as SVG."""
    most = max(values.values(), default=0) or 1
    rows = []
    for number, (name, value) in enumerate(values.items()):
        y = number * 22
        width = max(1, 380 * value / most)
        rows.append(
            f'<text x="0" y="{y + 14}">{escaped(name)}</text>'
            f'<rect x="200" y="{y + 3}" width="{width:.1f}" height="14" rx="2"></rect>'
            f'<text x="{206 + width:.1f}" y="{y + 14}">{value:,.4g}{escaped(unit)}</text>'
        )
    height = 22 * len(values)
    return f'<svg viewBox="0 0 660 {height}" width="660" role="img">{"".join(rows)}</svg>'


class Markup(str):
    """HTML, which is not escaped again."""


def escaped(value: Any) -> str:
    """Return a value as escaped text."""
    return html.escape(printable(value))


def _cell(value: Any) -> str:
    if isinstance(value, Markup):
        return value
    if isinstance(value, float):
        return f"{value:,.4g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return escaped("" if value is None else value)
