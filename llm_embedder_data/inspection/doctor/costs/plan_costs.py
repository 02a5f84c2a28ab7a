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
    """Add what an epoch costs to what is known of its plan.

    Up to four batches of each dataset are made as rank 0 gets them, in every layout. A dataset so
    rare that none of 512 steps draws it counts like the average of the others.

    Args:
        facts: from :func:`~llm_embedder_data.inspection.plan_view.plan_summary`; extended by

            - ``layout``: the layout in force
            - ``tokens_per_epoch``: tokens of all ranks, without padding
            - ``cells_per_epoch``: {layout: tokens and padding of all ranks}
            - ``padding``: {layout: the share of its cells that is padding}
            - ``padding`` and ``tokens_per_batch`` (of a rank) of each dataset that was measured
        plan: the epoch's plan.
        groups: chooses keys as in training.
        collator: makes the run's batches.
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
