"""Runs every check on all data of a run, and collects what the checks find."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from llm_embedder_data.batches.collator import RetrievalDataCollator
from llm_embedder_data.batches.groups.train_groups import TrainGroups
from llm_embedder_data.batches.plan.epoch_plan import EpochPlan, SmallDatasets
from llm_embedder_data.config.recipes import Instruction
from llm_embedder_data.core.file_names import file_names
from llm_embedder_data.core.printable import one_line
from llm_embedder_data.inspection.doctor.checks.contamination import EvalQueries, contaminated_rows
from llm_embedder_data.inspection.doctor.checks.corpus_checks import check_corpus
from llm_embedder_data.inspection.doctor.checks.plan_checks import check_plan
from llm_embedder_data.inspection.doctor.checks.row_checks import check_rows
from llm_embedder_data.inspection.doctor.checks.row_fingerprints import (
    RowFingerprints,
    row_fingerprints,
)
from llm_embedder_data.inspection.doctor.checks.token_checks import check_tokens
from llm_embedder_data.inspection.doctor.checks.unread_columns import check_columns
from llm_embedder_data.inspection.doctor.costs.cache_sizes import add_cache_bytes
from llm_embedder_data.inspection.doctor.costs.plan_costs import add_plan_costs
from llm_embedder_data.inspection.doctor.costs.score_figures import score_figures
from llm_embedder_data.inspection.doctor.costs.selection_effects import selection_effects
from llm_embedder_data.inspection.doctor.near_duplicates.near_checks import (
    check_near_duplicates,
    near_findings,
)
from llm_embedder_data.inspection.doctor.results.diagnosis import Diagnosis
from llm_embedder_data.inspection.doctor.results.findings import Check, Finding, finding
from llm_embedder_data.inspection.doctor.results.first_dropped import first_dropped
from llm_embedder_data.inspection.doctor.results.fixed_files import (
    ENDING,
    AnswersByRecord,
    rows_to_clean,
    write_fixed,
)
from llm_embedder_data.inspection.plan_view import plan_summary
from llm_embedder_data.inspection.rejected_rows import n_rejected
from llm_embedder_data.rows.corpora import Corpus
from llm_embedder_data.rows.eval_sets import EvalSet
from llm_embedder_data.rows.train_set import TrainSet


def diagnose(
    train_sets: Mapping[str, TrainSet],
    eval_sets: Mapping[str, EvalSet],
    corpora: Mapping[str, Corpus],
    plan: EpochPlan | None,
    *,
    refused: str | None,
    batch_size: Mapping[str, int],
    num_replicas: int,
    small_datasets: SmallDatasets,
    instruction_of: Callable[[TrainSet | EvalSet], Instruction],
    collator: RetrievalDataCollator,
    groups: TrainGroups | None,
    group_size: int,
    answers_of: Callable[[TrainSet], Mapping[str, Sequence[str]]],
    answers_by_record: Callable[[TrainSet], AnswersByRecord],
    cache_files: Mapping[str, Mapping[str, int]],
    seconds_to_prepare: float | None = None,
    fix: str | Path | None = None,
    near_duplicates: float | None = None,
    show_progress: bool = False,
) -> Diagnosis:
    """Read all data of a run and check it.

    Args:
        train_sets: training sets by name.
        eval_sets: eval sets by name.
        corpora: corpora by name.
        plan: the plan of epoch 0 on the ranks of the run; None if there is no training data, or if
            all training sets are smaller than a global batch.
        refused: why a run with this data and these settings would be refused; None if it would not.
        batch_size: queries per rank and step, by training set.
        num_replicas: number of data-parallel ranks of the run.
        small_datasets: the setting of this name.
        instruction_of: returns the texts put before the queries and keys of a dataset.
        collator: the run's collator.
        groups: chooses the keys of rows, as in training; None without training data.
        group_size: the setting ``train_group_size``, keys per query.
        answers_of: returns the answers to a training set's queries, by the query's normal form;
            empty if the data has no answers.
        answers_by_record: returns the same answers by file and record number, for cleaned files.
        cache_files: {file: bytes} by dataset, with the names that datasets have in the result.
        seconds_to_prepare: how long it took to write or open the caches, or None.
        fix: folder for cleaned files; None: write none.
        near_duplicates: the lowest Jaccard similarity at which texts count as near-duplicates, in
            [0.7, 1]; None: do not look for them.
        show_progress: whether to show a progress bar on the terminal.

    Raises:
        ConfigError: ``near_duplicates`` or ``fix`` cannot be used.
    """
    began = time.perf_counter()
    near_duplicates = check_near_duplicates(near_duplicates)
    if fix is not None:
        file_names(train_sets, ENDING, "fix")
    tokenizer = collator.tokenizer
    assert tokenizer is not None
    with _progress(show_progress) as progress:
        bar = progress.add_task("checks", total=2 * len(train_sets) + len(corpora) + 1)
        eval_queries = EvalQueries(eval_sets)
        fingerprints: dict[str, RowFingerprints] = {}

        def fingerprints_of(train_set: TrainSet) -> RowFingerprints:
            return row_fingerprints(
                train_set, instruction_of(train_set), tokenizer, eval_queries.runs
            )

        for name, train_set in train_sets.items():
            progress.update(bar, description=one_line(name))
            fingerprints[name] = fingerprints_of(train_set)
            progress.advance(bar)
        found = check_rows(train_sets, fingerprints) if train_sets else {}
        contaminated = contaminated_rows(fingerprints, eval_queries)
        facts = plan_summary(plan, train_sets) if plan is not None else None
        found_in_plan = check_plan(
            plan, facts, train_sets, fingerprints, batch_size, num_replicas, small_datasets
        )
        progress.advance(bar)
        if near_duplicates is not None and train_sets:
            progress.update(bar, description="near-duplicates")
            near = near_findings(train_sets, eval_sets, fingerprints, near_duplicates)
            for name, near_found in near.items():
                found[name] |= near_found
        token_entries = {}
        for name, train_set in train_sets.items():
            found[name]["contamination"] = finding(train_set, contaminated[name])
            found[name] |= found_in_plan.get(name, {})
            found[name]["truncated_positives"], token_entries[name] = check_tokens(
                train_set,
                instruction_of(train_set),
                tokenizer,
                query_max_length=collator.query_max_length,
                key_max_length=collator.key_max_length,
                answers=answers_of(train_set),
            )
            found[name]["unread_columns"] = check_columns(train_set)
            progress.advance(bar)
        datasets = {
            name: _entry(train_set, "train", found[name])
            | token_entries[name]
            | {"selection": selection_effects(train_set, group_size)}
            | {"scores": score_figures(train_set)}
            | {"global_batch": batch_size[name] * num_replicas}
            for name, train_set in train_sets.items()
        }
        for name, eval_set in eval_sets.items():
            checks: dict[Check, Finding] = {"unread_columns": check_columns(eval_set)}
            datasets[f"eval/{name}"] = _entry(eval_set, "eval", checks)
        for name, corpus in corpora.items():
            progress.update(bar, description=one_line(name))
            datasets[f"corpus/{name}"] = _entry(corpus, "corpus", check_corpus(corpus))
            progress.advance(bar)
    diagnosis = Diagnosis(datasets=datasets, plan=facts, refused=refused)
    if fix is not None:
        to_clean = {name: rows_to_clean(train_set) for name, train_set in train_sets.items()}
        to_clean_fingerprints = {
            name: fingerprints[name] if rows is train_sets[name] else fingerprints_of(rows)
            for name, rows in to_clean.items()
        }
        contaminated = contaminated_rows(to_clean_fingerprints, eval_queries)
        diagnosis["fixed"] = write_fixed(
            fix, to_clean, to_clean_fingerprints, contaminated, answers_by_record
        )
    cache_bytes = add_cache_bytes(datasets, cache_files)
    if plan is not None and facts is not None and groups is not None:
        add_plan_costs(facts, plan, groups, collator)
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
        "first_dropped": first_dropped(dataset),
        "rejected": n_rejected(dataset),
        "notes": list(dataset.notes),
        "checks": {check: found.as_dict() for check, found in checks.items()},
    }
