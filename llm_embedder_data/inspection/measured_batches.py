"""Measuring batches of an epoch: lengths of texts, teacher scores, and padding in each layout.

The batches are those of training: the same rows, keys and tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.batches.collator import RetrievalDataCollator
from llm_embedder_data.batches.groups.train_groups import TrainGroups
from llm_embedder_data.batches.plan.epoch_plan import EpochPlan
from llm_embedder_data.batches.tokens.model_inputs import Layout
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.inspection.batch_view.making import index_of
from llm_embedder_data.inspection.batch_view.model_texts import ids_of_side, shape_of_side

# The most batches of a dataset that are measured.
SAMPLED_BATCHES = 4

_BINS = 24  # of a histogram


def sampled_steps(plan: EpochPlan) -> dict[str, list[int]]:
    """Return at most :data:`SAMPLED_BATCHES` steps of each dataset, spread over the epoch."""
    candidates = spread(len(plan), 512)
    steps: dict[str, list[int]] = {}
    for step, batch in zip(candidates, plan.batches(candidates, 0), strict=True):
        steps.setdefault(batch.dataset, []).append(step)
    return {
        name: [steps[name][at] for at in spread(len(steps[name]), SAMPLED_BATCHES)]
        for name in plan.steps
        if name in steps
    }


def spread(n: int, most: int) -> list[int]:
    """Return at most ``most`` numbers of ``range(n)``, evenly spaced, ascending."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(np.int64)).tolist() if n else []


@dataclass(frozen=True, slots=True)
class Measured:
    """Measurements of some batches of a dataset on rank 0.

    Attributes:
        lengths: by side, a histogram of lengths in tokens after truncation: {"counts", "edges",
            "limit": the length limit, "at_limit": the share of texts with that length}.
        scores: histograms of teacher scores: {"edges", "positive": counts, "negative": counts};
            empty if no row has scores.
        sizes: (number of tokens, number of elements of the tensors) of an average batch, by layout.
            The elements that are not tokens are padding.
    """

    lengths: dict[str, Any]
    scores: dict[str, Any]
    sizes: dict[str, tuple[float, float]]

    @property
    def padding(self) -> dict[str, float]:
        """The share of a batch that is padding, by layout."""
        return {name: 1 - tokens / cells for name, (tokens, cells) in self.sizes.items() if cells}


def measured(
    plan: EpochPlan, groups: TrainGroups, collator: RetrievalDataCollator, steps: Sequence[int]
) -> Measured:
    """Make the batches of some steps of a dataset in every layout, and measure them.

    Args:
        plan: the plan of the epoch.
        groups: chooses the keys of rows.
        collator: the run's collator.
        steps: at least one step; all of the same dataset.
    """
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
        for layout, collate in collators.items():
            batch = collate(chosen)
            for side in sides:
                shape = shape_of_side(batch, side)
                total = cells.setdefault(layout, [0, 0])
                total[0] += shape.n_tokens
                total[1] += shape.n_cells
                if layout == collator.layout:
                    texts = ids_of_side(batch, side)
                    is_text = [True] * len(texts) if side == "query" else real.ravel().tolist()
                    lengths[side] += [
                        len(ids) for ids, is_real in zip(texts, is_text, strict=True) if is_real
                    ]
    query, key = collator.query_max_length, collator.key_max_length
    limits = {"query": query, "key": key, "cross": query + key}
    return Measured(
        {side: _length_histogram(of_side, limits[side]) for side, of_side in lengths.items()},
        _score_histogram(scores),
        {name: (n[0] / len(steps), n[1] / len(steps)) for name, n in cells.items()},
    )


def _in_each_layout(
    collator: RetrievalDataCollator,
) -> Iterator[tuple[str, RetrievalDataCollator]]:
    for layout in get_args(Layout):
        try:
            yield layout, collator.with_layout(layout)
        except ConfigError:
            continue  # without a padding token, a tokenizer supports only the packed layout


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
    counts = {name: np.histogram(of_kind, edges)[0].tolist() for name, of_kind in scores.items()}
    return {"edges": edges.tolist(), **counts}
