"""The setting ``near_duplicates``: finds rows that are nearly another row, or an eval query."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.inspection.doctor.checks.row_fingerprints import RowFingerprints
from llm_embedder_data.inspection.doctor.near_duplicates.min_hashes import minhash_class
from llm_embedder_data.inspection.doctor.near_duplicates.near_matches import near_finding
from llm_embedder_data.inspection.doctor.near_duplicates.near_queries import rows_near_queries
from llm_embedder_data.inspection.doctor.near_duplicates.near_rows import rows_near_rows
from llm_embedder_data.inspection.doctor.results.findings import Check, Finding
from llm_embedder_data.rows.eval_sets import EvalSet
from llm_embedder_data.rows.train_set import TrainSet

# Below this similarity, any two long texts of a language would have to be compared.
_LOWEST = 0.7


def check_near_duplicates(threshold: Any) -> float | None:
    """Return the setting ``near_duplicates``, checked before any data is read.

    Raises:
        ConfigError: it is neither None nor a similarity in [0.7, 1], or a package is missing.
    """
    if threshold is None:
        return None
    is_number = isinstance(threshold, int | float) and not isinstance(threshold, bool)
    if not is_number or not _LOWEST <= threshold <= 1:
        raise ConfigError(
            f"near_duplicates={threshold!r}: expected the least Jaccard similarity of texts that "
            f"are nearly the same, from {_LOWEST} to 1 (0.8 is usual), or null to look for none"
        )
    minhash_class()
    return float(threshold)


def near_findings(
    train_sets: Mapping[str, TrainSet],
    eval_sets: Mapping[str, EvalSet],
    fingerprints: Mapping[str, RowFingerprints],
    threshold: float,
) -> dict[str, dict[Check, Finding]]:
    """Return the findings of near-duplicates, by training set and check.

    Args:
        train_sets: training sets by name, at least one.
        eval_sets: eval sets by name.
        fingerprints: fingerprints of the training sets, by name.
        threshold: the lowest Jaccard similarity at which texts count as near-duplicates.
    """
    near_queries = rows_near_queries(train_sets, eval_sets, threshold)
    near_rows = rows_near_rows(train_sets, fingerprints, threshold)
    return {
        name: {
            "near_contamination": near_finding(train_set, near_queries[name], eval_sets),
            "near_duplicate_rows": near_finding(train_set, near_rows[name], train_sets),
        }
        for name, train_set in train_sets.items()
    }
