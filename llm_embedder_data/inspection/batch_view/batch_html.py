"""Showing a decoded batch as HTML, in a notebook or on a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm_embedder_data.core.printable import beginning, one_line
from llm_embedder_data.inspection.batch_view.batch_text import (
    headline,
    in_batch_lines,
    location_text,
)
from llm_embedder_data.inspection.html_page import escaped, folded, isolated

# The most queries that are shown; JSON has all of them. The first ones are shown unfolded.
MOST_QUERIES = 128
_N_OPEN = 2

# Colours are mixed with the background, so that they suit light and dark themes.
BATCH_STYLE = """
.batch { font: 14px/1.55 system-ui, sans-serif; overflow-wrap: anywhere }
.batch .where { opacity: .72; font-size: .86em }
.batch .marks { font-size: .86em }
.batch .marks span, .batch .tokens bdi { border-radius: .25em; padding: 0 .15em }
.batch .instruction { background: color-mix(in srgb, #2f7dd1 24%, transparent) }
.batch .special { opacity: .72; font-family: ui-monospace, monospace; font-size: .82em }
.batch .cut { background: color-mix(in srgb, #d9480f 22%, transparent);
  text-decoration: line-through color-mix(in srgb, #d9480f 45%, transparent) }
.batch .side1 { border-bottom: 2px solid color-mix(in srgb, #2b8a3e 55%, transparent) }
.batch details.query { border: 1px solid color-mix(in srgb, currentColor 18%, transparent);
  border-radius: .5em; padding: .45em .7em; margin: .6em 0; background: none }
.batch details.query > summary { cursor: pointer; font-weight: 600 }
.batch details.query > summary .where { font-weight: 400 }
.batch .key { display: grid; grid-template-columns: 8.5em minmax(0, 1fr); gap: .1em .8em;
  padding: .4em 0; border-top: 1px solid color-mix(in srgb, currentColor 12%, transparent) }
.batch .badge { font-weight: 600; font-size: .82em; padding: .05em .5em; border-radius: 1em;
  background: color-mix(in srgb, currentColor 12%, transparent); white-space: nowrap }
.batch .badge.positive { background: color-mix(in srgb, #2b8a3e 30%, transparent) }
.batch .badge.negative { background: color-mix(in srgb, #c2255c 20%, transparent) }
.batch .score { font-variant-numeric: tabular-nums; font-size: .86em; white-space: nowrap }
.batch .masked { color: color-mix(in srgb, #d9480f 75%, currentColor); font-weight: 600 }
.batch .ids { font: .8em/1.7 ui-monospace, monospace; opacity: .85 }
.batch .tokens details { margin: .1em 0; padding: 0; border: 0; background: none }
.batch .tokens summary { font-size: .82em; opacity: .72; cursor: pointer }
@media (max-width: 560px) { .batch .key { grid-template-columns: minmax(0, 1fr) } }
"""

_SIGNS = {"positive": "+", "negative": "\N{MINUS SIGN}", "padding": "\N{MIDDLE DOT}"}

_LEGEND = (
    '<p class="marks"><span class="instruction">instruction</span> '
    '<span class="special">[special token]</span> <span class="cut">cut off by truncation</span> '
    '<span class="badge positive">+ positive</span> '
    '<span class="badge negative">\N{MINUS SIGN} negative</span></p>'
)


def batch_html(batch: Mapping[str, Any]) -> str:
    """Return a :class:`ShownBatch` as HTML with its style, to be embedded in a page."""
    lines = "".join(f"<div>{escaped(one_line(line))}</div>" for line in headline(batch))
    shown = batch["queries"][:MOST_QUERIES]
    queries = "".join(_query(batch, query, n < _N_OPEN) for n, query in enumerate(shown))
    n_more = len(batch["queries"]) - len(shown)
    more = f"<p>and {n_more:,} more queries, which the JSON has</p>" if n_more else ""
    return (
        f'<div class="batch"><style>{BATCH_STYLE}</style><div class="where">{lines}</div>'
        f"{_LEGEND}{queries}{more}</div>"
    )


def _query(batch: Mapping[str, Any], query: Mapping[str, Any], is_open: bool) -> str:
    where = (
        f"rank {query['rank']}, query {query['position']}, row {query['row']}, id "
        f"{beginning(one_line(query['query_id']), 60)}, {location_text(query)}"
    )
    text = "" if batch["cross"] else _tokens(query["decoded"])
    others = "".join(f"<div>{escaped(line)}</div>" for line in in_batch_lines(batch, query))
    return (
        f'<details class="query"{" open" if is_open else ""}><summary>'
        f"{isolated(beginning(query['text'], 120))} "
        f'<span class="where">{escaped(where)}</span></summary>'
        f'<div class="where" title="{escaped(query["file"])}">{escaped(query["file"])}</div>'
        f"{text}{''.join(_key(key) for key in query['keys'])}"
        f'<div class="key"><span class="where">in the batch</span>'
        f'<div class="where">{others}</div></div></details>'
    )


def _key(key: Mapping[str, Any]) -> str:
    score = key["teacher_score"]
    name = f"{_SIGNS[key['role']]} {key['candidate'] or 'padding'}"
    about = [f'<span class="badge {key["role"]}">{escaped(name)}</span>']
    if score is not None:
        raw = key["raw_score"]
        scaled = (
            "" if raw is None or abs(raw - score) < 1e-6 * max(1, abs(raw)) else f" ({raw:.4g})"
        )
        about.append(f'<div class="score">score {score:.4g}{escaped(scaled)}</div>')
    notes = []
    if key["masked"]:
        notes.append(f'<div class="masked">masked: {escaped(key["masked"])}</div>')
    if key["repeats_slot"] is not None:
        notes.append(f'<div class="where">the text of key {key["repeats_slot"]} again</div>')
    if key["passage"]:
        where = f"corpus {one_line(key['passage']['corpus'])}, {location_text(key['passage'])}"
        notes.append(f'<div class="where">{escaped(where)}</div>')
    text = "" if key["role"] == "padding" else _tokens(key["decoded"])
    return f'<div class="key"><div>{"".join(about)}</div><div>{text}{"".join(notes)}</div></div>'


def _tokens(decoded: Mapping[str, Any]) -> str:
    """Return a decoded text whose parts are marked, with its tokens, which a click unfolds."""
    spans = [
        f'<bdi class="{part["kind"]} side{part["side"]}">{escaped(part["text"])}</bdi>'
        for part in decoded["segments"]
    ]
    spans += [f'<bdi class="cut">{escaped(cut)}</bdi>' for cut in decoded["cut"] if cut]
    if not decoded["is_aligned"]:
        spans.append('<span class="masked">which part is cut cannot be told</span>')
    n_cut = f", {decoded['n_cut']} more cut off" if decoded["n_cut"] else ""
    tokens = " · ".join(token for part in decoded["segments"] for token in part["tokens"])
    inner = f'<div class="ids">{escaped(one_line(tokens))}</div>'
    details = folded(f"{decoded['n_tokens']} tokens{n_cut}", inner)
    return f'<div class="tokens"><div>{" ".join(spans)}</div>{details}</div>'
