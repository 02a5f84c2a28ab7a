"""The numbers for the plots of ``inspect``, from measured batches and from the plan."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from llm_embedder_data.batches.collator import RetrievalDataCollator
from llm_embedder_data.batches.groups.train_groups import TrainGroups
from llm_embedder_data.batches.plan.epoch_plan import EpochPlan
from llm_embedder_data.config.recipes import Instruction
from llm_embedder_data.inspection.doctor.checks.plan_checks import (
    collisions_in,
    expected_collisions,
)
from llm_embedder_data.inspection.doctor.checks.row_fingerprints import row_fingerprints
from llm_embedder_data.inspection.measured_batches import measured, sampled_steps, spread
from llm_embedder_data.rows.train_set import TrainSet

# The mix of tasks is computed from at most this many steps, and plotted in this many columns.
_MOST_STEPS = 20_000
_COLUMNS = 40

# If the epochs draw more rows than this, coverage is computed from sizes, not counted.
_MOST_ROWS = 4_000_000

# Collisions are computed for datasets of at most this many kept rows, because all texts are read;
# and for 1, 2, 4, ... 1024 ranks.
MOST_COMPARED_ROWS = 200_000
_MOST_WORLDS = 11


def plot_data(
    plan: EpochPlan,
    groups: TrainGroups,
    collator: RetrievalDataCollator,
    train_sets: Mapping[str, TrainSet],
    *,
    instruction_of: Callable[[TrainSet], Instruction],
    epochs: int,
) -> dict[str, Any]:
    """Measure some batches of an epoch, and compute mix, coverage and collisions from its plan.

    Args:
        plan: the plan of the epoch.
        groups: chooses the keys of rows, as in training.
        collator: the run's collator.
        train_sets: training sets by name.
        instruction_of: returns the texts put before a dataset's queries and keys.
        epochs: number of epochs to show the coverage of, from epoch 0 on.

    Returns:
        - ``epoch``, ``world_size``, ``epochs``
        - ``sampled_steps``: {dataset: steps whose batches on rank 0 were measured}
        - ``lengths``: {dataset: {side: {"counts", "edges", "limit", "at_limit"}}}, histograms of
          lengths in tokens after truncation; ``at_limit`` is the share of texts of that length
        - ``scores``: {dataset: {"edges", "positive", "negative"}}, histograms of teacher scores, of
          the datasets with scores
        - ``tasks``: {"steps", "shares": {task: [share of the steps in each part of the epoch]}}
        - ``padding``: {dataset: {layout: share of the batch that is padding}}
        - ``coverage``: {dataset: [share of the kept rows in epoch 0, in epochs 0 and 1, ...]}, and
          ``coverage_is_exact``, False if it was computed from sizes
        - ``collisions``: {dataset: {"worlds": numbers of ranks, "pairs"}}. ``pairs`` has, for each
          number of ranks, the expected number of pairs in a global batch of a query and another
          row's positive that is a known positive of the query. With ``no_duplicates``, the only
          number of ranks is that of the plan. None for large datasets.
    """
    assert collator.tokenizer is not None
    tokenizer = collator.tokenizer
    steps = sampled_steps(plan)
    batches = {name: measured(plan, groups, collator, of_set) for name, of_set in steps.items()}
    shares, is_exact = _coverage(plan, epochs)
    return {
        "epoch": plan.epoch,
        "world_size": plan.num_replicas,
        "epochs": epochs,
        "sampled_steps": steps,
        "lengths": {name: of_set.lengths for name, of_set in batches.items()},
        "scores": {name: of_set.scores for name, of_set in batches.items() if of_set.scores},
        "tasks": _tasks(plan, train_sets),
        "padding": {name: of_set.padding for name, of_set in batches.items()},
        "coverage": shares,
        "coverage_is_exact": is_exact,
        "collisions": {
            name: _collisions(train_sets[name], plan, instruction_of(train_sets[name]), tokenizer)
            for name in plan.steps
        },
    }


# --------------------------------------------------------------------------------------------------


def _tasks(plan: EpochPlan, train_sets: Mapping[str, TrainSet]) -> dict[str, Any]:
    """Return the share of each task in each part of the epoch."""
    steps = spread(len(plan), _MOST_STEPS)
    n_columns = min(_COLUMNS, len(steps))
    tasks = [train_sets[batch.dataset].task for batch in plan.batches(steps, 0)]
    parts = np.array_split(np.array(tasks, object), n_columns)
    names = dict.fromkeys(train_sets[name].task for name in plan.steps)
    return {
        "steps": len(plan),
        "shares": {name: [float(np.mean(part == name)) for part in parts] for name in names},
    }


def _coverage(plan: EpochPlan, epochs: int) -> tuple[dict[str, list[float]], bool]:
    """Return the share of each dataset's rows seen by the end of each epoch, and if it is exact."""
    drawn = sum(plan.steps[name] * plan.global_batch(name) for name in plan.steps)
    if drawn * epochs > _MOST_ROWS:
        return {name: list(_expected_coverage(plan, name, epochs)) for name in plan.steps}, False
    seen = {name: np.zeros(plan.sizes[name], bool) for name in plan.steps}
    shares: dict[str, list[float]] = {name: [] for name in plan.steps}
    for epoch in range(epochs):
        other = plan.at(epoch)
        for batch in other.batches(range(len(other))):
            seen[batch.dataset][batch.rows] = True
        for name, rows in seen.items():
            shares[name].append(float(rows.mean()))
    return shares, True


def _expected_coverage(plan: EpochPlan, name: str, epochs: int) -> Iterator[float]:
    """Yield the share of a dataset's rows seen by the end of each epoch, computed from sizes."""
    n_rows, global_batch = plan.sizes[name], plan.global_batch(name)
    n_steps = plan.steps[name]
    for epoch in range(1, epochs + 1):
        if plan.organize_method == "random":
            yield 1 - (1 - min(1.0, global_batch / n_rows)) ** (n_steps * epoch)
        else:  # each pass draws all rows except the remainder, which may rotate
            rotates = plan.remainder == "rotate" and plan.organize_method != "epoch-static"
            in_a_pass = n_rows - n_rows % global_batch
            drawn = (
                n_steps * global_batch * (1 if plan.organize_method == "epoch-static" else epoch)
            )
            yield min(1.0 if rotates and drawn > in_a_pass else in_a_pass / n_rows, drawn / n_rows)


def _collisions(
    train_set: TrainSet,
    plan: EpochPlan,
    instruction: Instruction,
    tokenizer: PreTrainedTokenizerBase,
) -> dict[str, Any] | None:
    n_rows = len(train_set.kept)
    if n_rows > MOST_COMPARED_ROWS:
        return None
    fingerprints = row_fingerprints(train_set, instruction, tokenizer)
    if plan.separates_texts:
        pairs = collisions_in(plan, train_set.name, fingerprints)
        return {"worlds": [plan.num_replicas], "pairs": [pairs]}
    per_rank = plan.batch_size[train_set.name]
    worlds = [2**k for k in range(_MOST_WORLDS) if 2**k * per_rank <= n_rows] or [1]
    expected = [expected_collisions(fingerprints, world * per_rank) for world in worlds]
    return {"worlds": worlds, "pairs": expected}
