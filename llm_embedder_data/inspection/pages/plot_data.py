"""The numbers behind the plots of a run's data: lengths, scores, tasks, padding, coverage."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from llm_embedder_data.batches.collator import RetrievalDataCollator
from llm_embedder_data.batches.groups.train_groups import TrainGroups
from llm_embedder_data.batches.plan.epoch_plan import EpochPlan
from llm_embedder_data.batches.tokens.model_inputs import Layout
from llm_embedder_data.config.recipes import Instruction
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.inspection.batch_view.making import index_of
from llm_embedder_data.inspection.batch_view.model_texts import ids_of_side, shape_of_side
from llm_embedder_data.inspection.doctor.plan_checks import expected_collisions
from llm_embedder_data.inspection.doctor.train_checks import row_prints
from llm_embedder_data.rows.train_sets import TrainSet

# Batches of each dataset whose lengths, scores and padding are measured, at most.
SAMPLED_BATCHES = 4

# Steps whose dataset is looked up for the mix of tasks, at most, and the columns of its plot.
_MOST_STEPS = 20_000
_COLUMNS = 40

# Rows that are followed through the epochs, at most. Beyond, shares are computed from sizes.
_MOST_ROWS = 4_000_000

# Kept rows of a dataset whose texts are compared for collisions, at most: all texts are read.
MOST_COMPARED_ROWS = 200_000
_MOST_WORLDS = 11  # 1 to 1024 ranks

_BINS = 24


def plot_data(
    plan: EpochPlan,
    groups: TrainGroups,
    collator: RetrievalDataCollator,
    train_sets: Mapping[str, TrainSet],
    *,
    instruction_of: Callable[[TrainSet], Instruction],
    epochs: int,
) -> dict[str, Any]:
    """Measure real batches of an epoch, and follow its plan.

    Args:
        plan: of the epoch.
        groups: that choose keys, as training does.
        collator: of the run.
        train_sets: by name.
        instruction_of: returns the texts put before a dataset's queries and keys.
        epochs: that coverage is shown for, from epoch 0 on.

    Returns:
        - ``sampled_steps``: {dataset: steps of rank 0 that were measured}
        - ``lengths``: {dataset: {side: {"counts", "edges", "limit", "at_limit"}}}, in tokens as the
          model gets them; ``at_limit`` is the share that is as long as the limit
        - ``scores``: {dataset: {"edges", "positive", "negative"}}, counts, where rows are scored
        - ``tasks``: {"steps", "shares": {task: [share of the steps in each part of the epoch]}}
        - ``padding``: {dataset: {layout: share of the cells}}
        - ``coverage``: {dataset: [share of the kept rows seen after epoch 0, 1, ...]}, and
          ``coverage_is_exact``
        - ``collisions``: {dataset: {"worlds", "pairs"}}: pairs (query, other row's positive) in a
          global batch where the key is a known positive, expected; None where it is not counted
    """
    assert collator.tokenizer is not None
    tokenizer = collator.tokenizer
    steps = _sampled_steps(plan)
    measured = {name: _measured(plan, groups, collator, own) for name, own in steps.items()}
    shares, is_exact = _coverage(plan, epochs)
    return {
        "epoch": plan.epoch,
        "world_size": plan.num_replicas,
        "epochs": epochs,
        "sampled_steps": steps,
        "lengths": {name: own.lengths for name, own in measured.items()},
        "scores": {name: own.scores for name, own in measured.items() if own.scores},
        "tasks": _tasks(plan, train_sets),
        "padding": {name: own.padding for name, own in measured.items()},
        "coverage": shares,
        "coverage_is_exact": is_exact,
        "collisions": {
            name: _collisions(train_sets[name], plan, instruction_of(train_sets[name]), tokenizer)
            for name in plan.steps
        },
    }


# --------------------------------------------------------------------------------------------------


def _sampled_steps(plan: EpochPlan) -> dict[str, list[int]]:
    """Return a few steps of each dataset, spread over the epoch."""
    looked_at = _spread(len(plan), 512)
    steps: dict[str, list[int]] = {}
    for step, batch in zip(looked_at, plan.batches(looked_at, 0), strict=True):
        steps.setdefault(batch.dataset, []).append(step)
    return {
        name: [steps[name][at] for at in _spread(len(steps[name]), SAMPLED_BATCHES)]
        for name in plan.steps
        if name in steps
    }


def _spread(n: int, most: int) -> list[int]:
    """Return at most so many of ``range(n)``, evenly spaced, ascending."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(np.int64)).tolist() if n else []


@dataclass(frozen=True, slots=True)
class _Measured:
    lengths: dict[str, Any]
    scores: dict[str, Any]
    padding: dict[str, float]


def _measured(
    plan: EpochPlan, groups: TrainGroups, collator: RetrievalDataCollator, steps: Sequence[int]
) -> _Measured:
    """Make some batches of one dataset in every layout, and measure them."""
    sides = ["cross"] if collator.cross else ["query", "key"]
    lengths: dict[str, list[int]] = {side: [] for side in sides}
    scores: dict[str, list[float]] = {"positive": [], "negative": []}
    cells: dict[str, list[int]] = {}
    collators = dict(_in_each_layout(collator))
    for step in steps:
        chosen = groups[index_of(plan, step, 0)]
        real = np.asarray(chosen["key_mask"]) == 1
        if chosen["teacher_scores"] is not None:
            _add_scores(scores, chosen["teacher_scores"], real)
        for layout, each in collators.items():
            batch = each(chosen)
            for side in sides:
                shape = shape_of_side(batch, side)
                total = cells.setdefault(layout, [0, 0])
                total[0] += shape.n_tokens
                total[1] += shape.n_cells
                if layout == collator.layout:
                    own = ids_of_side(batch, side)
                    is_text = [True] * len(own) if side == "query" else real.ravel().tolist()
                    lengths[side] += [
                        len(ids) for ids, is_real in zip(own, is_text, strict=True) if is_real
                    ]
    query, key = collator.query_max_length, collator.key_max_length
    limits = {"query": query, "key": key, "cross": query + key}
    return _Measured(
        {side: _length_histogram(own, limits[side]) for side, own in lengths.items()},
        _score_histogram(scores),
        {name: 1 - tokens / total for name, (tokens, total) in cells.items() if total},
    )


def _in_each_layout(
    collator: RetrievalDataCollator,
) -> Iterator[tuple[str, RetrievalDataCollator]]:
    for layout in get_args(Layout):
        try:
            yield layout, replace(collator, layout=layout)
        except ConfigError:
            continue  # a tokenizer without a padding token has the packed layout only


def _add_scores(
    scores: dict[str, list[float]], found: NDArray[np.float32], real: NDArray[np.bool_]
) -> None:
    is_scored = real & np.isfinite(found)
    scores["positive"] += found[:, 0][is_scored[:, 0]].tolist()
    scores["negative"] += found[:, 1:][is_scored[:, 1:]].tolist()


def _length_histogram(lengths: Sequence[int], limit: int) -> dict[str, Any]:
    counts, edges = np.histogram(lengths, bins=min(_BINS, limit), range=(0, limit))
    at_limit = float(np.mean(np.asarray(lengths) >= limit)) if len(lengths) else 0.0
    return {
        "counts": counts.tolist(),
        "edges": edges.tolist(),
        "limit": limit,
        "at_limit": at_limit,
    }


def _score_histogram(scores: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    both = [*scores["positive"], *scores["negative"]]
    if not both:
        return {}
    low, high = min(both), max(both)
    edges = np.linspace(low, high if high > low else low + 1, _BINS + 1)
    counts = {name: np.histogram(own, edges)[0].tolist() for name, own in scores.items()}
    return {"edges": edges.tolist(), **counts}


def _tasks(plan: EpochPlan, train_sets: Mapping[str, TrainSet]) -> dict[str, Any]:
    """Return the share of each task in each part of the epoch."""
    steps = _spread(len(plan), _MOST_STEPS)
    n_columns = min(_COLUMNS, len(steps))
    tasks = [train_sets[batch.dataset].task for batch in plan.batches(steps, 0)]
    parts = np.array_split(np.array(tasks, object), n_columns)
    names = dict.fromkeys(train_sets[name].task for name in plan.steps)
    return {
        "steps": len(plan),
        "shares": {name: [float(np.mean(part == name)) for part in parts] for name in names},
    }


def _coverage(plan: EpochPlan, epochs: int) -> tuple[dict[str, list[float]], bool]:
    """Return the share of each dataset's rows that the epochs up to each one hold."""
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
    """Yield the share of a dataset's rows that the epochs up to each one hold, from sizes alone."""
    n_rows, global_batch = plan.sizes[name], plan.global_batch(name)
    n_steps = plan.steps[name]
    for epoch in range(1, epochs + 1):
        if plan.organize_method == "random":
            yield 1 - (1 - min(1.0, global_batch / n_rows)) ** (n_steps * epoch)
        else:  # passes come one after the other, and each holds nearly all rows
            turns = plan.remainder == "rotate" and plan.organize_method != "epoch-static"
            in_a_pass = n_rows - n_rows % global_batch
            drawn = (
                n_steps * global_batch * (1 if plan.organize_method == "epoch-static" else epoch)
            )
            yield min(1.0 if turns and drawn > in_a_pass else in_a_pass / n_rows, drawn / n_rows)


def _collisions(
    train_set: TrainSet,
    plan: EpochPlan,
    instruction: Instruction,
    tokenizer: PreTrainedTokenizerBase,
) -> dict[str, Any] | None:
    n_rows = len(train_set.kept)
    if n_rows > MOST_COMPARED_ROWS:
        return None
    prints = row_prints(train_set, instruction, tokenizer)
    per_rank = plan.batch_size[train_set.name]
    worlds = [2**k for k in range(_MOST_WORLDS) if 2**k * per_rank <= n_rows] or [1]
    pairs = [expected_collisions(prints, world * per_rank) for world in worlds]
    return {"worlds": worlds, "pairs": pairs}
