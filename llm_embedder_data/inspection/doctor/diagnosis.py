"""What the doctor found, as plain data, as a table, and as a page."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from llm_embedder_data.batches.collator import RetrievalDataCollator
from llm_embedder_data.batches.groups.train_groups import TrainGroups
from llm_embedder_data.batches.plan.epoch_plan import EpochPlan
from llm_embedder_data.config.recipes import Instruction
from llm_embedder_data.core.printable import one_line, printable
from llm_embedder_data.inspection.doctor.cache_sizes import add_cache_bytes
from llm_embedder_data.inspection.doctor.contamination import EvalQueries, contaminated_rows
from llm_embedder_data.inspection.doctor.corpus_checks import check_corpus
from llm_embedder_data.inspection.doctor.costs_in_words import costs_in_words
from llm_embedder_data.inspection.doctor.findings import (
    MEANING,
    Check,
    Example,
    Finding,
    finding,
)
from llm_embedder_data.inspection.doctor.fixes import write_fixed
from llm_embedder_data.inspection.doctor.min_hashes import check_near_duplicates
from llm_embedder_data.inspection.doctor.near_duplicates import near_findings
from llm_embedder_data.inspection.doctor.plan_checks import check_plan
from llm_embedder_data.inspection.doctor.plan_costs import add_costs
from llm_embedder_data.inspection.doctor.selection_effects import selection_effects
from llm_embedder_data.inspection.doctor.token_checks import check_tokens
from llm_embedder_data.inspection.doctor.train_checks import RowPrints, check_rows, row_prints
from llm_embedder_data.inspection.html_page import section, table
from llm_embedder_data.inspection.plain_console import PlainConsole
from llm_embedder_data.inspection.plan_view import plan_summary
from llm_embedder_data.rows.corpora import Corpus
from llm_embedder_data.rows.eval_sets import EvalSet
from llm_embedder_data.rows.files.first_records import field_names
from llm_embedder_data.rows.known_columns import look_alikes
from llm_embedder_data.rows.native_shape import QID
from llm_embedder_data.rows.row_locations import locations_of
from llm_embedder_data.rows.train_sets import TrainSet

_READ = {"query", "pos", "neg", "history", "teacher_scores", "query_id", "task", "pos_index"}

_DATA_NAMES = ("dataset", "format", "read", "kept", "dropped")
_FINDING_NAMES = ("dataset", "check", "count", "what", "first at")


class Diagnosis(dict[str, Any]):
    """``{"datasets": {name: {...}}, "plan": {...}}``; prints as a table.

    Each data set has ``kind``, ``format``, ``read``, ``kept``, ``dropped`` ({reason: rows}) and
    ``checks``: {check: {"count", "examples": [{"file", "line", "text"}]}}; a check that looked at a
    sample says so in ``looked_at``. Eval sets and corpora are named ``eval/NAME``,
    ``corpus/NAME``. ``plan`` is None without training data. Each has ``cache_bytes``; training sets
    have ``lengths``, ``cut`` (of the positives) and ``selection`` (what each setting leaves).
    """

    def __str__(self) -> str:
        console = PlainConsole(width=110)
        console.print(_text_table("Data", _DATA_NAMES, self._data_rows()))
        if found := self._finding_rows():
            console.print(_text_table("Findings", _FINDING_NAMES, found))
        else:
            console.print("No check found anything.")
        for line in costs_in_words(self):
            console.print(line)
        return printable(console.text())

    def _repr_html_(self) -> str:
        """Return both tables for a notebook."""
        data, found = self._data_rows(), self._finding_rows()
        findings = table(_FINDING_NAMES, found) if found else "<p>No check found anything.</p>"
        costs = "".join(f"<p>{escape(line)}</p>" for line in costs_in_words(self))
        return section("Data", table(_DATA_NAMES, data)) + section("Findings", findings) + costs

    def _data_rows(self) -> list[tuple[str, ...]]:
        return [
            (
                one_line(name),
                entry["format"],
                f"{entry['read']:,}",
                f"{entry['kept']:,}",
                ", ".join(f"{n} {reason}" for reason, n in entry["dropped"].items()) or "-",
            )
            for name, entry in self["datasets"].items()
        ]

    def _finding_rows(self) -> list[tuple[str, ...]]:
        rows: list[tuple[str, ...]] = []
        for name, check, found in self.findings():
            first = found["examples"][0] if found["examples"] else None
            at = "" if first is None else f"{Path(first['file']).name}:{first['line']}"
            count = f"{found['count']:,.4g}"
            if "looked_at" in found:
                count += f" of {found['looked_at']:,}"
            rows.append((one_line(name), check, count, MEANING[check], one_line(at)))
        return rows

    def findings(self) -> Iterable[tuple[str, Check, Mapping[str, Any]]]:
        """(dataset, check, finding) of all checks that found something."""
        for name, entry in self["datasets"].items():
            for check, found in entry["checks"].items():
                if found["count"]:
                    yield name, check, found


def diagnose(
    train_sets: Mapping[str, TrainSet],
    eval_sets: Mapping[str, EvalSet],
    corpora: Mapping[str, Corpus],
    plan: EpochPlan | None,
    *,
    instruction_of: Callable[[TrainSet | EvalSet], Instruction],
    collator: RetrievalDataCollator,
    groups: TrainGroups | None,
    group_size: int,
    answers_of: Callable[[TrainSet], Mapping[str, Sequence[str]]],
    cache_files: Mapping[str, Mapping[str, int]],
    seconds_to_prepare: float | None = None,
    fix: str | Path | None = None,
    near_duplicates: float | None = None,
    show_progress: bool = False,
) -> Diagnosis:
    """Read all data and check it.

    Args:
        train_sets: by name.
        eval_sets: by name.
        corpora: by name.
        plan: of epoch 0 on the ranks of the run; None without training data.
        instruction_of: the texts put before a data set's queries and keys.
        collator: of the run.
        groups: that choose keys, as training does; None without training data.
        group_size: keys per query, of the settings.
        answers_of: a training set's answers, by the query's normal form; empty where it has none.
        cache_files: {file: bytes} by dataset, named as in the result.
        seconds_to_prepare: that the caches took to write or to open.
        fix: a folder for cleaned files; None writes none.
        near_duplicates: Jaccard similarity from which texts are nearly the same; None looks for
            none.
        show_progress: whether a bar shows how far it is, on the terminal.
    """
    began = time.perf_counter()
    near_duplicates = check_near_duplicates(near_duplicates)
    tokenizer = collator.tokenizer
    assert tokenizer is not None
    with _progress(show_progress) as progress:
        bar = progress.add_task("checks", total=2 * len(train_sets) + len(corpora) + 1)
        eval_queries = EvalQueries(eval_sets)
        prints: dict[str, RowPrints] = {}
        for name, train_set in train_sets.items():
            progress.update(bar, description=one_line(name))
            prints[name] = row_prints(
                train_set, instruction_of(train_set), tokenizer, eval_queries.runs
            )
            progress.advance(bar)
        found = check_rows(train_sets, prints) if train_sets else {}
        contaminated = contaminated_rows(prints, eval_queries)
        facts = plan_summary(plan, train_sets) if plan is not None else None
        of_plan = check_plan(facts, prints) if facts is not None else {}
        progress.advance(bar)
        if near_duplicates is not None and train_sets:
            progress.update(bar, description="near-duplicates")
            for name, own in near_findings(train_sets, eval_sets, prints, near_duplicates).items():
                found[name] |= own
        of_tokens = {}
        for name, train_set in train_sets.items():
            found[name]["contamination"] = finding(train_set, contaminated[name])
            found[name] |= of_plan.get(name, {})
            found[name]["truncated_positives"], of_tokens[name] = check_tokens(
                train_set,
                instruction_of(train_set),
                tokenizer,
                query_max_length=collator.query_max_length,
                key_max_length=collator.key_max_length,
                answers=answers_of(train_set),
            )
            found[name]["unread_columns"] = _unread(train_set)
            progress.advance(bar)
        datasets = {
            name: _entry(train_set, "train", found[name])
            | of_tokens[name]
            | {"selection": selection_effects(train_set, group_size)}
            for name, train_set in train_sets.items()
        }
        for name, eval_set in eval_sets.items():
            checks: dict[Check, Finding] = {"unread_columns": _unread(eval_set)}
            datasets[f"eval/{name}"] = _entry(eval_set, "eval", checks)
        for name, corpus in corpora.items():
            progress.update(bar, description=one_line(name))
            datasets[f"corpus/{name}"] = _entry(corpus, "corpus", check_corpus(corpus))
            progress.advance(bar)
    diagnosis = Diagnosis(datasets=datasets, plan=facts)
    if fix is not None:
        diagnosis["fixed"] = write_fixed(fix, train_sets, prints, contaminated)
    cache_bytes = add_cache_bytes(datasets, cache_files)
    if plan is not None and facts is not None and groups is not None:
        add_costs(facts, plan, groups, collator)
        facts["cache_bytes"] = cache_bytes
        facts["seconds_to_prepare"] = seconds_to_prepare
    diagnosis["seconds"] = time.perf_counter() - began
    return diagnosis


def _progress(is_shown: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        disable=not is_shown,
        console=Console(stderr=True),
        transient=True,
    )


def _text_table(title: str, names: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    made = Table(title=title, box=SIMPLE_HEAD)
    for name in names:
        made.add_column(name, overflow="fold")
    for row in rows:
        made.add_row(*row)
    return made


def _entry(
    dataset: TrainSet | EvalSet | Corpus, kind: str, checks: Mapping[Check, Finding]
) -> dict[str, Any]:
    return {
        "kind": kind,
        "files": list(dataset.files),
        "format": dataset.format,
        "read": dataset.n_read,
        "kept": len(dataset.kept),
        "dropped": dict(dataset.dropped),
        "notes": list(dataset.notes),
        "checks": {check: one.as_dict() for check, one in checks.items()},
    }


def _unread(dataset: TrainSet | EvalSet) -> Finding:
    """Columns of the files that look like known ones, and are not read."""
    examples = [
        Example(file, None, name)
        for file in dataset.files
        # Readers of other formats, and of streamed files, have notes of their own.
        if locations_of(dataset.rows) is None and Path(file).is_file()
        for fields in [field_names(file)]
        # A file without a query_id has its ids in the other name.
        for name in look_alikes(fields, _READ if "query_id" in fields else {*_READ, QID})
    ]
    names = dict.fromkeys(one.text for one in examples)
    return Finding(len(names), examples=examples[:5])
