"""What was read, what was kept, what was dropped and why, in numbers and as a table."""

from __future__ import annotations

import html
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from llm_embedder_data.batches.plan import EpochPlan
from llm_embedder_data.rows.builders import Corpus, EvalSet, TrainSet

_DETAILS = ("task", "settings", "scored_rows", "rows_without_negatives", "weight")


class Report(dict[str, Any]):
    """``{"train": {name: {...}}, "eval": {...}, "corpus": {...}}``; prints as a table.

    Each dataset has ``files``, ``rows_read``, ``rows_kept``, ``dropped`` ({reason: rows}; read =
    kept + dropped) and ``notes``. Training sets also have ``task``, ``settings`` (in force),
    ``scored_rows``, ``rows_without_negatives``, ``steps_per_epoch`` and ``rows_left_out_per_epoch``
    (they sit out in turn).
    """

    def __str__(self) -> str:
        table = Table(
            "", "dataset", "task", "read", "kept", "dropped", "steps", "scored", title="Data"
        )
        for kind, entries in self.items():
            for name, entry in entries.items():
                dropped = ", ".join(f"{n} {reason}" for reason, n in entry["dropped"].items())
                numbers = (entry["rows_read"], entry["rows_kept"])
                table.add_row(
                    kind,
                    name,
                    entry.get("task", ""),
                    *map(str, numbers),
                    dropped or "-",
                    str(entry.get("steps_per_epoch", "")),
                    str(entry.get("scored_rows", "")),
                )
        console = Console(file=io.StringIO(), width=110, markup=False, highlight=False)
        console.print(table)
        for entries in self.values():
            for name, entry in entries.items():
                for note in entry["notes"]:
                    console.print(f"- {name}: {note}")
        text: str = console.file.getvalue()  # type: ignore[attr-defined]
        return text.rstrip()

    def _repr_html_(self) -> str:
        """The same as a table for a notebook."""
        columns = ("", "dataset", "task", "read", "kept", "dropped", "steps", "scored")
        rows, notes = [], []
        for kind, entries in self.items():
            for name, entry in entries.items():
                dropped = ", ".join(f"{n} {reason}" for reason, n in entry["dropped"].items())
                steps, scored = entry.get("steps_per_epoch", ""), entry.get("scored_rows", "")
                read, kept = entry["rows_read"], entry["rows_kept"]
                cells = (kind, name, entry.get("task", ""), read, kept, dropped, steps, scored)
                rows.append("".join(f"<td>{_in_html(cell)}</td>" for cell in cells))
                notes += [f"<li>{_in_html(f'{name}: {note}')}</li>" for note in entry["notes"]]
        head = "".join(f"<th>{column}</th>" for column in columns)
        body = "".join(f"<tr>{row}</tr>" for row in rows)
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        return f"<div>{table}{'<ul>' + ''.join(notes) + '</ul>' if notes else ''}</div>"


def _in_html(value: Any) -> str:
    text = "".join(
        one if one.isprintable() or one == "\n" else ascii(one)[1:-1] for one in str(value)
    )
    return html.escape(text)


def make_report(
    train: Iterable[TrainSet],
    evals: Iterable[EvalSet],
    corpora: Iterable[Corpus],
    plan: EpochPlan | None,
    notes: Mapping[str, Sequence[str]],
) -> Report:
    """The report of what the builders made and of what the plan does with it.

    Args:
        train: the training sets.
        evals: the eval sets.
        corpora: the corpora.
        plan: of any epoch; None where there is nothing to train on.
        notes: by dataset, beside those of the builders.
    """
    steps = plan.steps if plan else {}
    report = Report(train={}, eval={}, corpus={})
    for one in train:
        settings = asdict(one.settings)
        settings.pop("asked")
        entry = _common(one) | {
            "task": one.task,
            "settings": settings,
            "scored_rows": one.n_scored,
            "rows_without_negatives": one.n_without_negatives,
            "weight": one.weight,
            "in_batch_negatives": one.in_batch_negatives,
        }
        if plan is not None:
            global_batch = plan.batch_size[one.name] * plan.num_replicas
            used = one.name in steps
            entry["global_batch"] = global_batch
            entry["steps_per_epoch"] = steps.get(one.name, 0)
            entry["rows_left_out_per_epoch"] = (
                len(one.kept) % global_batch if used else len(one.kept)
            )
            if not used:
                entry["dropped"]["small_dataset"] = len(one.kept)
                entry["rows_kept"] = 0
        report["train"][one.name] = entry
    for evaluated in evals:
        report["eval"][evaluated.name] = _common(evaluated) | {"task": evaluated.task}
    for corpus in corpora:
        report["corpus"][corpus.name] = _common(corpus) | {"key_template": corpus.template}
    for entries in report.values():
        for name, entry in entries.items():
            entry["notes"] += notes.get(name, [])
    return report


def _common(one: TrainSet | EvalSet | Corpus) -> dict[str, Any]:
    return {
        "files": list(one.files),
        "rows_read": one.n_read,
        "rows_kept": len(one.kept),
        "dropped": dict(one.dropped),
        "notes": list(one.notes),
    }
