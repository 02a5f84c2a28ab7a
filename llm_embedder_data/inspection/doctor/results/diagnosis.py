"""The doctor's results, as a dictionary that prints as tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from llm_embedder_data.core.printable import one_line, printable
from llm_embedder_data.inspection.doctor.results.costs_in_words import (
    costs_in_words,
    refusal_in_words,
)
from llm_embedder_data.inspection.doctor.results.findings import MEANING, Check, count_in_words
from llm_embedder_data.inspection.doctor.results.summary_tables import (
    LENGTH_NAMES,
    PLAN_NAMES,
    length_rows,
    plan_rows,
    plan_title,
)
from llm_embedder_data.inspection.html_page import section, table
from llm_embedder_data.inspection.plain_console import PlainConsole

_DATA_NAMES = ("dataset", "format", "read", "kept", "dropped")
_FINDING_NAMES = ("dataset", "check", "count", "what", "first at")


class Diagnosis(dict[str, Any]):
    """The doctor's results: a dictionary that prints as tables, in a notebook as HTML.

    ``["datasets"][name]`` describes a dataset. Training sets have their name as the key, eval sets
    ``eval/NAME``, and corpora ``corpus/NAME``.

    - ``kind``, ``files``, ``format``, ``read`` and ``kept`` (numbers of rows), ``dropped``
      ({reason: number of rows}), ``first_dropped`` ({reason: {"file", "line"}}), ``rejected``
      (number of records, those of side-cars included, that gave no row because of what they
      contain), ``notes`` and ``cache_bytes``
    - ``checks``: {check: {"count", "examples": [{"file", "line", "text"}]}}. If the check read only
      a sample of the rows, ``looked_at`` is their number. Examples of near-duplicates have a
      ``similarity`` and a ``match``, with file, line and text.
    - only training sets: ``lengths`` in tokens, ``cut`` (positives that are cut off), ``selection``
      (how many rows and negatives each setting leaves), ``scores`` (their number and range) and
      ``global_batch`` (number of rows)

    ``["refused"]`` is the reason why ``fit`` would not start with these settings, or None.
    ``["plan"]`` summarizes an epoch and its costs; it is None if no training data fills a global
    batch. ``["seconds"]`` is the time that the doctor took. If cleaned files were written,
    ``["fixed"]`` is {training set: {reason: number of rows or negatives that are not in its file}}.
    """

    def __str__(self) -> str:
        console = PlainConsole(width=110)
        console.print(_text_table("Data", _DATA_NAMES, self._data_rows()))
        if found := self._finding_rows():
            console.print(_text_table("Findings", _FINDING_NAMES, found))
        else:
            console.print("No check found anything.")
        if lengths := length_rows(self["datasets"]):
            console.print(_text_table("Lengths in tokens", LENGTH_NAMES, lengths))
        if (plan := self["plan"]) is not None:
            console.print(_text_table(plan_title(plan), PLAN_NAMES, plan_rows(plan)))
        for line in [*refusal_in_words(self), *costs_in_words(self)]:
            console.print(line)
        return printable(console.text())

    def _repr_html_(self) -> str:
        """Return the results as HTML for a notebook."""
        data, found = self._data_rows(), self._finding_rows()
        findings = table(_FINDING_NAMES, found) if found else "<p>No check found anything.</p>"
        costs = "".join(f"<p>{escape(line)}</p>" for line in costs_in_words(self))
        refusal = "".join(f"<p><b>{escape(line)}</b></p>" for line in refusal_in_words(self))
        lengths, plan = length_rows(self["datasets"]), self["plan"]
        sections = [
            section("Data", table(_DATA_NAMES, data)),
            section("Findings", findings),
            *([section("Lengths in tokens", table(LENGTH_NAMES, lengths))] if lengths else []),
        ]
        if plan is not None:
            sections.append(section(plan_title(plan), table(PLAN_NAMES, plan_rows(plan))))
        return refusal + "".join(sections) + costs

    def _data_rows(self) -> list[tuple[str, ...]]:
        return [
            (
                one_line(name),
                entry["format"],
                f"{entry['read']:,}",
                f"{entry['kept']:,}",
                dropped_in_words(entry) or "-",
            )
            for name, entry in self["datasets"].items()
        ]

    def _finding_rows(self) -> list[tuple[str, ...]]:
        rows: list[tuple[str, ...]] = []
        for name, check, found in self.findings():
            first = found["examples"][0] if found["examples"] else None
            at = "" if first is None else place(first)
            rows.append(
                (one_line(name), check, count_in_words(found), MEANING[check], one_line(at))
            )
        return rows

    def findings(self) -> Iterable[tuple[str, Check, Mapping[str, Any]]]:
        """Yield (dataset, check, finding) for each check that found something."""
        for name, entry in self["datasets"].items():
            for check, found in entry["checks"].items():
                if found["count"]:
                    yield name, check, found


def dropped_in_words(entry: Mapping[str, Any]) -> str:
    """Return how many rows of a dataset were dropped for each reason, and where the first one is.

    Args:
        entry: the entry of the dataset in the diagnosis.
    """
    parts = []
    for reason, n_rows in entry["dropped"].items():
        first = entry["first_dropped"].get(reason)
        where = "" if first is None else f" (first: {place(first)})"
        parts.append(one_line(f"{n_rows:,} {reason}{where}"))
    return ", ".join(parts)


def place(at: Mapping[str, Any]) -> str:
    """Return the name of a file and, after a colon, the line.

    Args:
        at: a mapping with ``file``, a path, and ``line``, a number or None.
    """
    name = Path(at["file"]).name
    return name if at["line"] is None else f"{name}:{at['line']}"


def _text_table(title: str, names: Sequence[str], rows: Iterable[Sequence[str | int]]) -> Table:
    text_table = Table(title=title, box=SIMPLE_HEAD)
    rows = list(rows)
    for number, name in enumerate(names):
        is_numeric = bool(rows) and isinstance(rows[0][number], int)
        text_table.add_column(name, overflow="fold", justify="right" if is_numeric else "left")
    for row in rows:
        text_table.add_row(*(f"{cell:,}" if isinstance(cell, int) else cell for cell in row))
    return text_table
