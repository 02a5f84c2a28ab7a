"""Building blocks of a self-contained HTML page, for light and dark themes and any width.

A page needs no script and no other file.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any

from llm_embedder_data.core.printable import one_line, printable

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --paper: #fff; --line: #d8dde3; --soft: #f4f6f8;
  --accent: #2563a8; --faint: #5b646e }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7eb; --paper: #14171a; --line: #333a42;
  --soft: #1d2226; --accent: #7ab4f0; --faint: #a3abb4 } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 72rem; padding: 1rem; color: var(--ink); background: var(--paper);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere }
h1 { font-size: 1.5rem } h2 { font-size: 1.2rem; margin-top: 2rem } h3 { font-size: 1rem }
.faint { color: var(--faint); font-size: .86em }
.scroll { overflow-x: auto; overflow-wrap: break-word }
blockquote { margin: 0; padding-left: .8rem; border-left: 3px solid var(--line) }
table { border-collapse: collapse; font-size: .9rem }
th, td { text-align: left; padding: .35rem .6rem; border-bottom: 1px solid var(--line);
  vertical-align: top }
th { white-space: nowrap }
/* A long name without a space breaks at this width, and a word of usual length stays whole. */
td > span { display: inline-block; max-width: 22rem }
td:first-child > span { width: max-content }
td:last-child > span { display: inline; overflow-wrap: anywhere }
td.text:last-child { min-width: 14rem }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
details { margin: .5rem 0; padding: .4rem .6rem; background: var(--soft); border-radius: .4rem }
details details { background: none; border: 1px solid var(--line) }
summary { cursor: pointer } code { font-size: .85em }
summary:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px }
/* On a phone, a row is a block: its first cell, and below it the others with their names. */
@media (max-width: 40rem) {
  thead { display: none }
  table, tbody { display: block }
  tr { display: block; padding: .45rem 0; border-bottom: 1px solid var(--line) }
  td, td.text:last-child { display: inline-block; max-width: 100%; min-width: 0; border: 0;
    padding: 0 .9rem 0 0 }
  td > span, td:first-child > span { display: inline }
  td:first-child { display: block; font-weight: 600; text-align: left }
  td:empty, td.text:empty { display: none }
  td[data-name]:not(:first-child)::before { content: attr(data-name) " "; color: var(--faint) }
  td:first-child:nth-last-child(2) + td::before { content: none }
}
"""


def page(title: str, sections: Iterable[str], *, style: str = "") -> str:
    """Return a complete page as HTML.

    Args:
        title: title of the page, as plain text.
        sections: HTML of the sections, in order.
        style: additional CSS.
    """
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escaped(title)}</title><style>{_STYLE}{style}</style></head>"
        f"<body><h1>{escaped(title)}</h1>{''.join(sections)}</body></html>\n"
    )


def section(title: str, *content: str) -> str:
    """Return a heading (plain text) and the HTML below it."""
    return f"<h2>{escaped(title)}</h2>{''.join(content)}"


def table(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table. Columns of numbers are aligned right. On a phone, rows become blocks.

    Args:
        names: the names of the columns.
        rows: the rows, each with a value for each column. Text is escaped unless it is
            :class:`Markup`.
    """
    rows = list(rows)
    numeric = [
        bool(rows) and all(isinstance(row[i], int | float | None) for row in rows)
        for i in range(len(names))
    ]
    kinds = ["number" if is_numeric else "text" for is_numeric in numeric]
    head = "".join(
        f'<th class="{kind}">{escaped(name)}</th>' for kind, name in zip(kinds, names, strict=True)
    )
    starts = [
        f'<td class="{kind}"' + (f' data-name="{escaped(name)}">' if name else ">")
        for kind, name in zip(kinds, names, strict=True)
    ]
    body = "".join(
        "<tr>"
        + "".join(f"{start}{_cell(cell)}</td>" for start, cell in zip(starts, row, strict=True))
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
        "</div>"
    )


def folded(summary: str, *content: str, is_open: bool = False) -> str:
    """Return HTML that is hidden until a click on its summary (plain text, or Markup)."""
    said = summary if isinstance(summary, Markup) else escaped(summary)
    attribute = " open" if is_open else ""
    return f"<details{attribute}><summary>{said}</summary>{''.join(content)}</details>"


class Markup(str):
    """A string that is HTML already, so that it must not be escaped."""


def escaped(value: Any) -> str:
    """Return a value as printable text with HTML's special characters escaped."""
    return html.escape(printable(value))


def isolated(value: Any) -> str:
    """Return a value on one line, escaped; its writing direction does not affect its neighbours."""
    return f"<bdi>{escaped(one_line(value))}</bdi>"


def _cell(value: Any) -> str:
    if isinstance(value, Markup):
        return value
    if isinstance(value, float):
        return f"{value:,.4g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "" if value in (None, "") else f'<span dir="auto">{escaped(value)}</span>'
