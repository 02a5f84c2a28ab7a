"""The report of the data: how many rows were read, kept and dropped, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from llm_embedder_data.batches.plan.epoch_plan import EpochPlan
from llm_embedder_data.config.recipes import Instruction
from llm_embedder_data.core.printable import one_line, printable
from llm_embedder_data.inspection.html_page import escaped
from llm_embedder_data.inspection.html_page import table as html_table
from llm_embedder_data.inspection.plain_console import PlainConsole
from llm_embedder_data.inspection.rejected_rows import n_rejected
from llm_embedder_data.rows.corpora import Corpus
from llm_embedder_data.rows.eval_sets import EvalSet
from llm_embedder_data.rows.train_set import TrainSet

# The most datasets that a line names.
_MOST_NAMED = 12


class Report(dict[str, Any]):
    """A dict that prints as a table: ``{"train": {name: {...}}, "eval": {...}, "corpus": {...}}``.

    Each dataset has

    - ``files``, ``format``, ``rows_read``, ``rows_kept``, ``notes``, and ``dropped`` ({reason:
      number of rows}); each row read is either kept or dropped
    - ``rejected``: the number of records that gave no row because of what they contain, in its
      files and in the corpus and side-cars that they are joined to;
      :meth:`RetrievalDataModule.rejected_rows` returns them
    - ``instruction``: the texts put before ``query`` and ``key`` (a list for a corpus), and their
      ``origin``

    Training and eval sets also have ``task`` and ``rows_with_own_instructions``, the number of rows
    whose instructions replace those of the dataset. Training sets also have

    - ``settings``: the settings in force
    - ``scored_rows``, ``rows_without_negatives``
    - ``rows_sometimes_without_negatives``: rows without negatives in some epochs, if the policy for
      negatives changes between epochs
    - ``policies``: {limit: number of negatives that it leaves out}. If the policy changes, the
      number is {epoch from which it holds: number}.
    - ``in_batch_negatives``, ``global_batch``, ``steps_per_epoch``
    - ``rows_left_out_per_epoch``: the number of rows that epoch 0 leaves out; other epochs leave
      out other rows, see :meth:`EpochPlan.rows_left_out`
    - ``weight``: number of passes per epoch
    - ``mixing``, if ``data.mixing`` is set: the shares of all datasets, in words
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
                    one_line(name),
                    one_line(entry.get("task", "")),
                    *map(str, numbers),
                    dropped or "-",
                    str(entry.get("steps_per_epoch", "")),
                    str(entry.get("scored_rows", "")),
                )
        console = PlainConsole(width=110)
        console.print(table)
        for line in [*self._instructions(), *self._mixing()]:
            console.print(f"- {printable(line)}")
        for entries in self.values():
            for name, entry in entries.items():
                for note in [*entry["notes"], *_rejected_in_words(entry)]:
                    console.print(f"- {one_line(name)}: {printable(note)}")
        return console.text()

    def _repr_html_(self) -> str:
        """Return the report as a table for a notebook."""
        columns = ("dataset", "used for", "task", "read", "kept", "dropped", "steps", "scored")
        rows, notes = [], [*self._instructions(), *self._mixing()]
        for kind, entries in self.items():
            for name, entry in entries.items():
                dropped = ", ".join(f"{n:,} {reason}" for reason, n in entry["dropped"].items())
                steps, scored = entry.get("steps_per_epoch"), entry.get("scored_rows")
                read, kept = entry["rows_read"], entry["rows_kept"]
                task = one_line(entry.get("task", ""))
                rows.append((one_line(name), kind, task, read, kept, dropped, steps, scored))
                lines = [*entry["notes"], *_rejected_in_words(entry)]
                notes += [f"{one_line(name)}: {note}" for note in lines]
        items = "".join(f"<li>{escaped(note)}</li>" for note in notes)
        return f"<div>{html_table(columns, rows)}{f'<ul>{items}</ul>' if items else ''}</div>"

    def _mixing(self) -> list[str]:
        """Return a line on the shares of the datasets, if a setting mixes them."""
        said = {entry["mixing"] for entry in self["train"].values() if "mixing" in entry}
        return sorted(said)

    def _instructions(self) -> list[str]:
        """Return a line for each pair of instructions, with the datasets that have it."""
        names: dict[str, list[str]] = {}
        of_rows: list[str] = []
        for kind in ("train", "eval"):
            for name, entry in self[kind].items():
                texts = entry["instruction"]
                both = Instruction(texts["query"], texts["key"])
                said = f"{described(both)} ({texts['origin']})"
                names.setdefault(said, []).append(name)
                if n_rows := entry["rows_with_own_instructions"]:
                    of_rows.append(
                        f"{one_line(name)}: {n_rows} rows have an instruction of their own"
                    )
        return of_rows + [
            f"{listed_datasets(list(dict.fromkeys(datasets)))}: instruction: {said}"
            for said, datasets in names.items()
        ]


def listed_datasets(datasets: Sequence[str]) -> str:
    """Return the names of datasets; if there are many, the first names and the number of others."""
    shown = ", ".join(map(one_line, datasets[:_MOST_NAMED]))
    n_more = len(datasets) - _MOST_NAMED
    return (
        f"{shown} and {n_more:,} more datasets"
        if n_more > 1
        else ", ".join(map(one_line, datasets))
    )


def mixing_in_words(plan: EpochPlan) -> str:
    """Return a sentence on the share of the steps and the number of passes of each dataset."""
    shares = ", ".join(
        f"{one_line(name)} {n_steps / len(plan):.1%} ({plan.weights[name]:.3g} passes)"
        for name, n_steps in plan.steps.items()
    )
    return f"mixing by {plan.mixing}: shares of the {len(plan)} steps of an epoch: {shares}"


def described(instruction: Instruction) -> str:
    """Return both instructions in words.

    >>> described(Instruction("query: ", ""))
    "query 'query: ', key none"
    """
    sides = (("query", instruction.query), ("key", instruction.key))
    if not any(text for _, text in sides):
        return "none"
    return ", ".join(f"{side} {text!r}" if text else f"{side} none" for side, text in sides)


def make_report(
    train: Iterable[TrainSet],
    evals: Iterable[EvalSet],
    corpora: Iterable[Corpus],
    plan: EpochPlan | None,
    *,
    notes: Mapping[str, Mapping[str, Sequence[str]]],
    instruction: Callable[[TrainSet | EvalSet], Instruction],
    origin: str,
    key_instructions: Mapping[str, Sequence[str]],
) -> Report:
    """Make the report of datasets and their plan.

    Args:
        train: the training sets.
        evals: the eval sets.
        corpora: the corpora.
        plan: the plan of any epoch; None without training data.
        notes: additional notes, by kind (train, eval, corpus) and dataset.
        instruction: returns the instructions of a training or eval set.
        origin: what decided the instructions, such as a recipe.
        key_instructions: the key instructions of each corpus. A corpus has several if the tasks of
            its eval sets differ in them.
    """
    steps, left_out = (plan.steps, plan.rows_left_out()) if plan else ({}, {})
    report = Report(train={}, eval={}, corpus={})
    for train_set in train:
        entry = _common(train_set) | {
            "task": train_set.task,
            "instruction": asdict(instruction(train_set)) | {"origin": origin},
            "settings": train_set.settings.by_name(),
            "scored_rows": train_set.n_scored,
            "rows_with_own_instructions": train_set.n_instructed,
            "rows_without_negatives": train_set.n_without_negatives,
            "rows_sometimes_without_negatives": train_set.n_sometimes_without_negatives,
            "policies": left_out_by_limit(train_set),
            "weight": train_set.weight,
            "notes": [*train_set.notes, *_policies_in_words(train_set)],
            "in_batch_negatives": train_set.in_batch_negatives,
        }
        if plan is not None:
            global_batch = plan.global_batch(train_set.name)
            entry["global_batch"] = global_batch
            entry["steps_per_epoch"] = steps.get(train_set.name, 0)
            entry["rows_left_out_per_epoch"] = left_out[train_set.name]
            if plan.mixing is not None:
                entry["weight"] = plan.weights[train_set.name]
                entry["mixing"] = mixing_in_words(plan)
            if train_set.name not in steps:
                entry["dropped"]["small_dataset"] = len(train_set.kept)
                entry["rows_kept"] = 0
        report["train"][train_set.name] = entry
    for evaluated in evals:
        report["eval"][evaluated.name] = _common(evaluated) | {
            "task": evaluated.task,
            "instruction": asdict(instruction(evaluated)) | {"origin": origin},
            "rows_with_own_instructions": evaluated.n_instructed,
        }
    for corpus in corpora:
        report["corpus"][corpus.name] = _common(corpus) | {
            "key_template": corpus.template,
            "instruction": {"key": list(key_instructions.get(corpus.name, [])), "origin": origin},
        }
    for kind, entries in report.items():
        for name, entry in entries.items():
            entry["notes"] += notes.get(kind, {}).get(name, [])
    return report


def left_out_by_limit(train_set: TrainSet) -> dict[str, Any]:
    """Return the number of negatives that each limit leaves out: see ``policies`` of the report."""
    if train_set.policies is None:
        return {}
    epochs = train_set.policies.first_epochs
    return {
        limit: dict(zip(epochs, counts, strict=True)) if len(epochs) > 1 else counts[0]
        for limit, counts in train_set.left_out_by_limit.items()
    }


def _policies_in_words(train_set: TrainSet) -> Iterator[str]:
    if train_set.policies is None:
        return
    epochs = train_set.policies.first_epochs
    for number, epoch in enumerate(epochs):
        since = f", from epoch {epoch} on" if len(epochs) > 1 else ""
        counts = (f"{n[number]} by {limit}" for limit, n in train_set.left_out_by_limit.items())
        yield f"negatives left out{since}: {', '.join(counts)}"
    if train_set.n_sometimes_without_negatives:
        yield (
            f"{train_set.n_sometimes_without_negatives} rows have no negative left in some epochs "
            "and are then trained with in-batch negatives alone"
        )


def _common(dataset: TrainSet | EvalSet | Corpus) -> dict[str, Any]:
    return {
        "files": list(dataset.files),
        "format": dataset.format,
        "rows_read": dataset.n_read,
        "rows_kept": len(dataset.kept),
        "dropped": dict(dataset.dropped),
        "rejected": n_rejected(dataset),
        "notes": list(dataset.notes),
    }


def _rejected_in_words(entry: Mapping[str, Any]) -> Iterator[str]:
    if entry["rejected"]:
        yield (
            f"{entry['rejected']:,} rejected rows (rejected_rows() of the data module lists "
            "them, and llm-embedder-data prepare writes them)"
        )
