"""An epoch plan as a table for a notebook."""

from __future__ import annotations

import html
from collections.abc import Sequence

from llm_embedder_data.core.printable import one_line


def plan_table_html(title: str, rows: Sequence[tuple[str, int, int, int]]) -> str:
    """Return the datasets of a plan as an HTML table.

    Args:
        title: the caption.
        rows: for each dataset (name, number of rows, rows in a global batch, steps).
    """
    n_steps = sum(steps for *_, steps in rows) or 1
    names = ("dataset", "rows", "global batch", "steps", "share of the steps")
    head = "".join(f"<th>{name}</th>" for name in names)
    body = "".join(
        f"<tr><td>{html.escape(one_line(name))}</td><td>{n_rows:,}</td><td>{global_batch:,}</td>"
        f"<td>{steps:,}</td><td>{steps / n_steps:.1%}</td></tr>"
        for name, n_rows, global_batch, steps in rows
    )
    return (
        f"<table><caption>{html.escape(title)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table>"
    )
