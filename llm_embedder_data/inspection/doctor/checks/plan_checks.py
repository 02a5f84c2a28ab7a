"""Checks of an epoch's plan: rows that are never sampled, too small datasets, and collisions.

A collision is a key of another row in a global batch that is a known positive of a query.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from llm_embedder_data.batches.plan.epoch_plan import SmallDatasets
from llm_embedder_data.inspection.doctor.checks.row_fingerprints import RowFingerprints
from llm_embedder_data.inspection.doctor.results.findings import Check, Example, Finding
from llm_embedder_data.inspection.locations import located
from llm_embedder_data.rows.train_set import TrainSet

# What a run does with a dataset that is smaller than a global batch, by data.small_datasets.
_DONE: dict[SmallDatasets, str] = {
    "error": "fit refuses to start",
    "drop": "it is left out of training",
    "repeat": "its rows are repeated within a batch",
}


def check_plan(
    facts: Mapping[str, Any] | None,
    train_sets: Mapping[str, TrainSet],
    fingerprints: Mapping[str, RowFingerprints],
    batch_size: Mapping[str, int],
    num_replicas: int,
    small_datasets: SmallDatasets,
) -> dict[str, dict[Check, Finding]]:
    """Return the findings that follow from the plan, by training set and check.

    Args:
        facts: result of :func:`~llm_embedder_data.inspection.plan_view.plan_summary`; None if there
            is no plan, because all training sets are smaller than a global batch.
        train_sets: training sets by name.
        fingerprints: fingerprints of the training sets, by name.
        batch_size: queries per rank and step, by training set.
        num_replicas: number of data-parallel ranks.
        small_datasets: the setting of this name.
    """
    found: dict[str, dict[Check, Finding]] = {}
    for name, train_set in train_sets.items():
        n_rows, global_batch = len(train_set.kept), batch_size[name] * num_replicas
        below = Finding(0)
        if n_rows < global_batch:
            sentence = (
                f"{n_rows:,} rows, fewer than one global batch of {global_batch:,} "
                f"({batch_size[name]:,} per rank x {num_replicas:,} ranks): "
                f"{_DONE[small_datasets]} (data.small_datasets={small_datasets})"
            )
            below = Finding(n_rows, examples=[Example(_file_of(train_set), None, sentence)])
        found[name] = {
            "never_sampled": Finding(_never_sampled(facts, name, n_rows)),
            "below_global_batch": below,
            "expected_collisions": Finding(expected_collisions(fingerprints[name], global_batch)),
        }
    return found


def _file_of(train_set: TrainSet) -> str:
    """Return the file of the first kept row."""
    if not len(train_set.kept):
        return train_set.files[0]
    (first,) = located(train_set, train_set.kept[:1].tolist(), with_lines=False)
    return first.file


def _never_sampled(facts: Mapping[str, Any] | None, name: str, n_rows: int) -> int:
    """Return the number of a training set's rows that are sampled in no epoch."""
    if facts is None or not facts["datasets"][name]["steps_per_epoch"]:
        return n_rows
    dataset = facts["datasets"][name]
    left_out: int = dataset["left_out_per_pass"]
    takes_turns = dataset["even_after_passes"] is not None or not left_out
    return 0 if takes_turns else left_out


def expected_collisions(fingerprints: RowFingerprints, global_batch: int) -> float:
    """Return the expected number of collisions in a global batch.

    A collision is a pair of a query and the key of another row that is a known positive of the
    query. A loss would take the key for a negative if the batch's ``positive_id`` did not mask it.
    Rows are drawn without repeats, so two of n rows are both in a global batch of b rows with
    probability b(b-1) / n(n-1).

    Args:
        fingerprints: fingerprints of a training set.
        global_batch: number of rows in a global batch.
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
