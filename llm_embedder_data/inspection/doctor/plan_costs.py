"""What an epoch costs: its tokens, and the padded share in each layout, from a few real batches."""

from __future__ import annotations

from typing import Any

from llm_embedder_data.batches.collator import RetrievalDataCollator
from llm_embedder_data.batches.groups.train_groups import TrainGroups
from llm_embedder_data.batches.plan.epoch_plan import EpochPlan
from llm_embedder_data.inspection.measured_batches import measured, sampled_steps


def add_costs(
    facts: dict[str, Any], plan: EpochPlan, groups: TrainGroups, collator: RetrievalDataCollator
) -> None:
    """Add what an epoch costs to the facts of its plan.

    Up to four batches of rank 0 of each dataset are made in every layout. A dataset that is so rare
    that none of 512 steps is of it counts as the others do on average.

    Args:
        facts: of :func:`~llm_embedder_data.inspection.plan_view.plan_summary`. It gets ``layout``
            (in force), ``tokens_per_epoch`` (of all ranks, without padding), ``cells_per_epoch``
            ({layout: tokens and padding}) and ``padding`` ({layout: share of the cells}); each
            dataset with measured batches gets ``padding`` and ``tokens_per_batch`` (of a rank).
        plan: of the epoch.
        groups: that choose keys, as training does.
        collator: of the run.
    """
    tokens: dict[str, float] = {}
    cells: dict[str, float] = {}
    n_steps = 0.0
    for name, steps in sampled_steps(plan).items():
        found = measured(plan, groups, collator, steps)
        n_own = plan.steps[name]
        n_steps += n_own
        for layout, (n_tokens, n_cells) in found.sizes.items():
            tokens[layout] = tokens.get(layout, 0.0) + n_tokens * n_own
            cells[layout] = cells.get(layout, 0.0) + n_cells * n_own
        facts["datasets"][name]["padding"] = found.padding
        facts["datasets"][name]["tokens_per_batch"] = found.sizes[collator.layout][0]
    scale = plan.num_replicas * len(plan) / n_steps
    facts["layout"] = collator.layout
    facts["tokens_per_epoch"] = tokens[collator.layout] * scale
    facts["cells_per_epoch"] = {layout: n_cells * scale for layout, n_cells in cells.items()}
    facts["padding"] = {
        layout: 1 - tokens[layout] / n_cells for layout, n_cells in cells.items() if n_cells
    }
