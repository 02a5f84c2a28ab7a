"""Checks of an epoch's plan: rows that are never sampled, too small datasets, and collisions.

A collision is a key of another row in a global batch that is a known positive of a query.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.batches.plan.epoch_plan import EpochPlan, SmallDatasets
from llm_embedder_data.inspection.doctor.checks.row_fingerprints import RowFingerprints
from llm_embedder_data.inspection.doctor.results.findings import Check, Example, Finding
from llm_embedder_data.inspection.locations import located
from llm_embedder_data.rows.train_set import TrainSet

# Count the collisions in so many global batches, where they cannot be computed.
_BATCHES_COUNTED = 64

# What a run does with a dataset that is smaller than a global batch, by data.small_datasets.
_DONE: dict[SmallDatasets, str] = {
    "error": "fit refuses to start",
    "drop": "it is left out of training",
    "repeat": "its rows are repeated within a batch",
}


def check_plan(
    plan: EpochPlan | None,
    facts: Mapping[str, Any] | None,
    train_sets: Mapping[str, TrainSet],
    fingerprints: Mapping[str, RowFingerprints],
    batch_size: Mapping[str, int],
    num_replicas: int,
    small_datasets: SmallDatasets,
) -> dict[str, dict[Check, Finding]]:
    """Return the findings that follow from the plan, by training set and check.

    Args:
        plan: the plan of an epoch; None if all training sets are smaller than a global batch.
        facts: result of :func:`~llm_embedder_data.inspection.plan_view.plan_summary`; None without
            a plan.
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
        if plan is not None and plan.separates_texts and name in plan.steps:
            collisions = collisions_in(plan, name, fingerprints[name])
        else:
            collisions = expected_collisions(fingerprints[name], global_batch)
        found[name] = {
            "never_sampled": Finding(_never_sampled(facts, name, n_rows)),
            "below_global_batch": below,
            "expected_collisions": Finding(collisions),
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
    pairs = _colliding_pairs(fingerprints, fingerprints.is_positive)
    return pairs * batch * (batch - 1) / (n_rows * (n_rows - 1))


def collisions_in(plan: EpochPlan, name: str, fingerprints: RowFingerprints) -> float:
    """Return :func:`expected_collisions` of a plan whose batches are not drawn at random.

    This is the mean over some global batches of the dataset.

    Args:
        plan: the plan of an epoch.
        name: name of the dataset.
        fingerprints: of its rows.
    """
    counts = []
    for batch in plan.batches(plan.steps_of(name, _BATCHES_COUNTED).tolist()):
        in_batch = np.zeros(len(fingerprints.rows), bool)
        in_batch[batch.rows] = True
        is_chosen = fingerprints.is_positive & in_batch[fingerprints.row_of_key]
        counts.append(_colliding_pairs(fingerprints, is_chosen))
    return float(np.mean(counts))


def _colliding_pairs(fingerprints: RowFingerprints, is_chosen: NDArray[np.bool_]) -> float:
    """Return how many (query, another row's key) are known positives, were all rows in one batch.

    Args:
        fingerprints: of the rows of one training set.
        is_chosen: ``[m]`` bool, the positives of these rows.
    """
    row, key = fingerprints.row_of_key[is_chosen], fingerprints.key[is_chosen]
    # A row with n positives brings each of them with probability 1/n.
    probability = 1.0 / fingerprints.n_pos[row]
    order = np.argsort(key, kind="stable")
    _, starts, n_rows_with_key = np.unique(key[order], return_index=True, return_counts=True)
    if not len(starts):
        return 0.0
    n_brought = np.add.reduceat(probability[order], starts)
    return float(((n_rows_with_key - 1) * n_brought).sum())  # no row collides with itself
