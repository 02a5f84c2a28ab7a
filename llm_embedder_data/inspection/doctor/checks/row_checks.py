"""Checks that compare training rows with each other, by their fingerprints."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.inspection.doctor.checks.row_fingerprints import RowFingerprints
from llm_embedder_data.inspection.doctor.results.findings import Check, Finding, finding
from llm_embedder_data.rows.train_set import TrainSet


def check_rows(
    train_sets: Mapping[str, TrainSet], fingerprints: Mapping[str, RowFingerprints]
) -> dict[str, dict[Check, Finding]]:
    """Return the findings in rows, by training set and check.

    Rows are also compared with rows of other training sets. The findings include the faults of
    single texts, which :func:`~.row_fingerprints.row_fingerprints` found while it read them.

    Args:
        train_sets: training sets by name.
        fingerprints: fingerprints of the training sets, by name.
    """
    false, repeated = false_negatives(fingerprints), repeated_rows(fingerprints)
    ambiguous = _ambiguous_queries(fingerprints)
    found: dict[str, dict[Check, Finding]] = {}
    for name, of_rows in fingerprints.items():
        has_false = np.zeros(len(of_rows.rows), bool)
        has_false[of_rows.row_of_key[false[name]]] = True
        marks: dict[Check, NDArray[np.bool_]] = {
            "positive_among_negatives": has_false,
            "duplicate_rows": repeated[name],
            "duplicate_queries": ambiguous[name],
            "short_texts": of_rows.is_short,
            "scores_above_positive": of_rows.is_scored_above,
            "instruction_in_text": of_rows.has_instruction,
        }
        found[name] = {
            check: finding(train_sets[name], of_rows.rows[mark]) for check, mark in marks.items()
        }
    return found


def false_negatives(
    fingerprints: Mapping[str, RowFingerprints],
) -> dict[str, NDArray[np.bool_]]:
    """Return which candidates are negatives, but positives of the same query in some row.

    Args:
        fingerprints: fingerprints of the training sets, by name.

    Returns:
        {training set: ``[m]`` bool, for each candidate}
    """
    known = np.unique(_joined([rows.pairs(rows.is_positive) for rows in fingerprints.values()]))
    found = {}
    for name, rows in fingerprints.items():
        is_false = ~rows.is_positive
        is_false[is_false] = _are_among(rows.pairs(is_false), known)
        found[name] = is_false
    return found


def repeated_rows(fingerprints: Mapping[str, RowFingerprints]) -> dict[str, NDArray[np.bool_]]:
    """Return which rows are equal to an earlier row of any training set.

    Args:
        fingerprints: fingerprints of the training sets, by name.

    Returns:
        {training set: ``[n]`` bool, for each kept row}
    """
    is_repeated = ~is_first(_joined([rows.whole_row for rows in fingerprints.values()]))
    return _by_set(is_repeated, fingerprints)


def is_first(values: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Return for each value whether no earlier value equals it, ``[n]`` bool."""
    _, first = np.unique(values, return_index=True)
    found = np.zeros(len(values), bool)
    found[first] = True
    return found


# --------------------------------------------------------------------------------------------------


def _ambiguous_queries(
    fingerprints: Mapping[str, RowFingerprints],
) -> dict[str, NDArray[np.bool_]]:
    """Return which rows have a query that has other positives in another row, ``[n]`` bool."""
    queries = _joined([rows.query for rows in fingerprints.values()])
    positives = _joined([rows.positives() for rows in fingerprints.values()])
    order = np.lexsort((positives, queries))
    same_query = queries[order][1:] == queries[order][:-1]
    other_positives = positives[order][1:] != positives[order][:-1]
    ambiguous = np.unique(queries[order][1:][same_query & other_positives])
    return _by_set(_are_among(queries, ambiguous), fingerprints)


def _are_among(values: NDArray[np.uint64], ascending: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Return whether each value is among some ascending values, ``[n]`` bool."""
    if not len(ascending):
        return np.zeros(len(values), bool)
    nearest = np.minimum(np.searchsorted(ascending, values), len(ascending) - 1)
    among: NDArray[np.bool_] = ascending[nearest] == values
    return among


def _joined(parts: list[NDArray[np.uint64]]) -> NDArray[np.uint64]:
    return np.concatenate(parts) if parts else np.zeros(0, np.uint64)


def _by_set(
    values: NDArray[np.bool_], fingerprints: Mapping[str, RowFingerprints]
) -> dict[str, NDArray[np.bool_]]:
    """Divide the joined values of all rows by training set."""
    ends = np.cumsum([len(rows.rows) for rows in fingerprints.values()])
    return dict(zip(fingerprints, np.split(values, ends[:-1]), strict=True))
