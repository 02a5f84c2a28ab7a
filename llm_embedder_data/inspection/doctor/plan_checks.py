"""What only the plan knows: rows never sampled, datasets below a global batch, collisions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from llm_embedder_data.inspection.doctor.findings import Check, Finding
from llm_embedder_data.inspection.doctor.train_checks import RowPrints


def check_plan(
    facts: Mapping[str, Any], prints: Mapping[str, RowPrints]
) -> dict[str, dict[Check, Finding]]:
    """The findings of each training set that follow from the plan.

    Args:
        facts: of :func:`~llm_embedder_data.inspection.plan_view.plan_summary`.
        prints: of the training sets.
    """
    found: dict[str, dict[Check, Finding]] = {}
    for name, dataset in facts["datasets"].items():
        n_rows, global_batch = dataset["rows"], dataset["global_batch"]
        left_out = dataset["left_out_per_pass"]
        takes_turns = dataset["even_after_passes"] is not None or not left_out
        never = n_rows if not dataset["steps_per_epoch"] else 0 if takes_turns else left_out
        found[name] = {
            "never_sampled": Finding(never),
            "below_global_batch": Finding(n_rows if n_rows < global_batch else 0),
            "expected_collisions": Finding(expected_collisions(prints[name], global_batch)),
        }
    return found


def expected_collisions(prints: RowPrints, global_batch: int) -> float:
    """How many pairs (query, another row's positive) of a global batch are known positives.

    Rows are drawn without repeats, so a pair of the n rows is in a global batch of b with
    probability b(b-1) / n(n-1). Without the mask of ``positive_id`` a loss would take these keys
    for negatives.
    """
    n_rows = len(prints.rows)
    if n_rows < 2:
        return 0.0
    batch = min(global_batch, n_rows)
    positive = prints.is_positive
    row, key = prints.row_of_key[positive], prints.key[positive]
    # Of n positives a row's key is each with probability 1/n; all of them are known positives.
    weight = 1.0 / prints.n_pos[row]
    order = np.argsort(key, kind="stable")
    _, starts, counts = np.unique(key[order], return_index=True, return_counts=True)
    if not len(starts):
        return 0.0
    chosen = np.add.reduceat(weight[order], starts)
    pairs = float(((counts - 1) * chosen).sum())  # a row does not collide with itself
    return pairs * batch * (batch - 1) / (n_rows * (n_rows - 1))
