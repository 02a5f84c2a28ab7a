"""Checks of the epoch's plan: rows never sampled, datasets below a global batch, collisions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from llm_embedder_data.inspection.doctor.checks.row_fingerprints import RowFingerprints
from llm_embedder_data.inspection.doctor.results.findings import Check, Finding


def check_plan(
    facts: Mapping[str, Any], fingerprints: Mapping[str, RowFingerprints]
) -> dict[str, dict[Check, Finding]]:
    """Return the findings that follow from the plan, by training set and check.

    Args:
        facts: from :func:`~llm_embedder_data.inspection.plan_view.plan_summary`.
        fingerprints: of the training sets.
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
            "expected_collisions": Finding(expected_collisions(fingerprints[name], global_batch)),
        }
    return found


def expected_collisions(fingerprints: RowFingerprints, global_batch: int) -> float:
    """Return how many (query, another row's key) of a global batch are known positives, expected.

    Rows are drawn without repeats, so two of n rows are both in a global batch of b rows with
    probability b(b-1) / n(n-1). A loss would take these keys for negatives if the batch's
    ``positive_id`` did not mask them.

    Args:
        fingerprints: of the rows of one training set.
        global_batch: rows in a global batch.
    """
    n_rows = len(fingerprints.rows)
    if n_rows < 2:
        return 0.0
    batch = min(global_batch, n_rows)
    positive = fingerprints.is_positive
    row, key = fingerprints.row_of_key[positive], fingerprints.key[positive]
    # A row with n positives brings each of them with probability 1/n.
    probability = 1.0 / fingerprints.n_pos[row]
    order = np.argsort(key, kind="stable")
    _, starts, n_rows_with_key = np.unique(key[order], return_index=True, return_counts=True)
    if not len(starts):
        return 0.0
    n_brought = np.add.reduceat(probability[order], starts)
    pairs = float(((n_rows_with_key - 1) * n_brought).sum())  # no row collides with itself
    return pairs * batch * (batch - 1) / (n_rows * (n_rows - 1))
