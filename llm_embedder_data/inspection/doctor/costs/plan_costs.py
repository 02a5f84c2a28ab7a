"""What an epoch costs: its tokens, and its padding in each layout, measured on a few batches."""

from __future__ import annotations

from typing import Any

from llm_embedder_data.batches.collator import RetrievalDataCollator
from llm_embedder_data.batches.groups.train_groups import TrainGroups
from llm_embedder_data.batches.plan.epoch_plan import EpochPlan
from llm_embedder_data.inspection.measured_batches import measured, sampled_steps


def add_plan_costs(
    facts: dict[str, Any], plan: EpochPlan, groups: TrainGroups, collator: RetrievalDataCollator
) -> None:
    """Add the costs of an epoch to the summary of its plan.

    Up to four of each dataset's batches on rank 0 are made in every layout. A dataset that none of
    512 steps draws is taken to cost as much as the average of the others.

    Args:
        facts: result of :func:`~llm_embedder_data.inspection.plan_view.plan_summary`; extended by

            - ``layout``: the layout in force
            - ``tokens_per_epoch``: number of tokens on all ranks, without padding
            - ``cells_per_epoch``: {layout: number of tokens on all ranks, with padding}
            - ``padding``: {layout: the share of padding}
            - for each dataset that was measured, ``padding`` and ``tokens_per_batch`` (on a rank)
        plan: the plan of the epoch.
        groups: chooses the keys of rows, as in training.
        collator: the run's collator.
    """
    tokens: dict[str, float] = {}
    cells: dict[str, float] = {}
    n_steps = 0.0
    for name, steps in sampled_steps(plan).items():
        found = measured(plan, groups, collator, steps)
        n_steps_of_dataset = plan.steps[name]
        n_steps += n_steps_of_dataset
        for layout, (n_tokens, n_cells) in found.sizes.items():
            tokens[layout] = tokens.get(layout, 0.0) + n_tokens * n_steps_of_dataset
            cells[layout] = cells.get(layout, 0.0) + n_cells * n_steps_of_dataset
        facts["datasets"][name]["padding"] = found.padding
        facts["datasets"][name]["tokens_per_batch"] = found.sizes[collator.layout][0]
    scale = plan.num_replicas * len(plan) / n_steps
    facts["layout"] = collator.layout
    facts["tokens_per_epoch"] = tokens[collator.layout] * scale
    facts["cells_per_epoch"] = {layout: n_cells * scale for layout, n_cells in cells.items()}
    facts["padding"] = {
        layout: 1 - tokens[layout] / n_cells for layout, n_cells in cells.items() if n_cells
    }
