"""Decides which training rows are dropped, and for which reason."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.core.hashing import hash_rows
from llm_embedder_data.rows.selection.row_statistics import RowStatistics
from llm_embedder_data.rows.selection.train_settings import OnNoNegatives, TrainSettings

# The reasons for which a row is dropped. The first entry is for rows that are kept.
REASONS = (
    "",
    "bad_row",
    "no_positive",
    "no_negatives",
    "teacher_scores_margin",
    "teacher_scores_min",
    "max_sample_num",
    "no_negatives_left",  # by the negative policy
)
# Reasons that depend on the settings of a run. The other reasons are faults of the rows.
REASONS_OF_SETTINGS = frozenset(REASONS[REASONS.index("no_negatives") :])

Reasons = NDArray[np.uint8]  # [n], indices into REASONS


def drop_reasons(
    statistics: RowStatistics,
    sound: NDArray[np.bool_],
    settings: TrainSettings,
    on_no_negatives: OnNoNegatives = "drop",
) -> Reasons:
    """Return why each row is dropped: the first reason that applies, in the order of ``REASONS``.

    Args:
        statistics: the statistics of the rows.
        sound: whether each row has no fault, ``[n]`` bool.
        settings: the settings of the rows' task.
        on_no_negatives: whether rows without a hard negative are dropped or kept.

    Returns:
        ``[n]`` uint8, indices into :data:`REASONS`; 0 for kept rows.
    """
    reasons = np.zeros(len(sound), np.uint8)

    def drop(rows: NDArray[np.bool_], reason: str) -> None:
        reasons[rows & (reasons == 0)] = REASONS.index(reason)

    drop(~sound, "bad_row")
    drop(statistics.without_positive(settings), "no_positive")
    if on_no_negatives == "drop":
        drop(statistics.without_negatives(settings), "no_negatives")
    # Rows without scores are NaN and pass both filters: comparisons with NaN are False.
    if settings.teacher_scores_margin is not None:
        margins = statistics.highest - statistics.lowest
        drop(margins < settings.teacher_scores_margin, "teacher_scores_margin")
    if settings.teacher_scores_min is not None:
        drop(statistics.highest < settings.teacher_scores_min, "teacher_scores_min")
    return reasons


def drop_beyond(reasons: Reasons, rows: NDArray[np.int64], limit: int | None, seed: int) -> None:
    """Keep a random sample of at most ``limit`` rows: mark the others in ``reasons``, in place.

    Args:
        reasons: the reasons so far, ``[n]`` uint8.
        rows: the numbers of the rows, ``[n]`` int64. The rows whose numbers hash lowest are kept.
        limit: the maximum number of kept rows; None keeps all.
        seed: from :func:`~llm_embedder_data.core.hashing.stream_seed`.
    """
    kept = np.flatnonzero(reasons == 0)
    if limit is not None and len(kept) > limit:
        order = np.argsort(hash_rows(seed, rows[kept]), kind="stable")
        reasons[kept[order[limit:]]] = REASONS.index("max_sample_num")


def count_reasons(reasons: Reasons) -> Mapping[str, int]:
    """Return how many rows are dropped for each reason, without reasons that have none."""
    # np.bincount would copy the array as int64, which takes 8 times its memory.
    counts = {reason: int((reasons == i).sum()) for i, reason in enumerate(REASONS) if i}
    return {reason: n_rows for reason, n_rows in counts.items() if n_rows}
