"""Which rows a task's settings leave, and the reason for which each of the others goes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from llm_embedder_data.config.recipes import NegativeStrategy, PositiveStrategy
from llm_embedder_data.core.hashing import hash_rows

OnNoNegatives = Literal["drop", "keep"]

# The default: the first labelled positive, and in a row that has none the teacher's best candidate.
FIRST_ELSE_TEACHER: Literal["first-else-teacher"] = "first-else-teacher"
PositiveInForce = PositiveStrategy | Literal["first-else-teacher"]

# Why a row is not trained on; the first, none, is a row that is.
REASONS = (
    "",
    "bad_row",
    "no_positive",
    "no_negatives",
    "teacher_scores_margin",
    "teacher_scores_min",
    "max_sample_num",
)
Reasons = NDArray[np.uint8]  # [n], places in REASONS


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSettings:
    """How the rows of a task are filtered and their keys chosen.

    Attributes:
        asked: names of the settings that the user gave; the others are a recipe's or defaults.
            Where data has no teacher scores, an asked setting that needs them is an error, another
            gives way.
    """

    select_positive: PositiveInForce = "first"
    select_negative: NegativeStrategy = "random"
    teacher_scores_min: float | None = None
    teacher_scores_margin: float | None = None
    max_sample_num: int | None = None
    stable_distill: bool = False
    asked: frozenset[str] = frozenset()

    def needing_scores(self) -> dict[str, Any]:
        """The settings in force that mean nothing without teacher scores."""
        needing: dict[str, Any] = {}
        if self.select_positive in ("teacher", "teacher-pos"):
            needing["select_positive"] = self.select_positive
        if self.select_negative in ("teacher+", "teacher-"):
            needing["select_negative"] = self.select_negative
        if self.stable_distill:
            needing["stable_distill"] = True
        return needing


_FACTS = ["n_pos", "n_neg", "n_neg_teacher", "score_max", "score_min"]


class RowStatistics:
    """The numbers of each row that filters look at, ``[n]`` each, read from its table.

    Attributes:
        n_pos: labelled positives.
        n_negatives: negatives that are left when the positive is a labelled one.
        n_negatives_of_teacher: negatives that are left when the teacher chooses the positive.
        highest: teacher score, NaN in rows without.
        lowest: teacher score, NaN in rows without.
    """

    def __init__(self, table: pa.Table) -> None:
        self.n_pos: NDArray[np.int32] = table.column("n_pos").to_numpy()
        self.n_negatives: NDArray[np.int32] = table.column("n_neg").to_numpy()
        self.n_negatives_of_teacher: NDArray[np.int32] = table.column("n_neg_teacher").to_numpy()
        self.highest: NDArray[np.float64] = table.column("score_max").to_numpy()
        self.lowest: NDArray[np.float64] = table.column("score_min").to_numpy()

    @property
    def scored(self) -> NDArray[np.bool_]:
        return ~np.isnan(self.highest)

    def without_positive(self, settings: TrainSettings) -> NDArray[np.bool_]:
        """Rows for which the strategy finds no positive."""
        without: NDArray[np.bool_] = self.n_pos == 0
        teacher_may = settings.select_positive in ("teacher", FIRST_ELSE_TEACHER)
        return without & ~self.scored if teacher_may else without

    @property
    def left_to_teacher(self) -> NDArray[np.bool_]:
        """Rows that have no labelled positive, but scores."""
        rows: NDArray[np.bool_] = (self.n_pos == 0) & self.scored
        return rows

    def negatives_left(self, settings: TrainSettings) -> NDArray[np.int32]:
        """Hard negatives of each row beside its positive."""
        if settings.select_positive == "teacher":
            return np.where(self.scored, self.n_negatives_of_teacher, self.n_negatives)
        if settings.select_positive == FIRST_ELSE_TEACHER:
            return np.where(self.left_to_teacher, self.n_negatives_of_teacher, self.n_negatives)
        return self.n_negatives

    def without_negatives(self, settings: TrainSettings) -> NDArray[np.bool_]:
        """Rows for which no hard negative is left beside the positive."""
        without: NDArray[np.bool_] = self.negatives_left(settings) == 0
        return without


def statistics_by_block(table: pa.Table) -> Iterator[tuple[slice, RowStatistics]]:
    """The facts of a table's rows some thousand at a time, each time with the rows' place."""
    end = 0
    for batch in table.select(_FACTS).to_batches():
        start, end = end, end + len(batch)
        yield slice(start, end), RowStatistics(pa.Table.from_batches([batch]))


def drop_reasons(
    facts: RowStatistics,
    sound: NDArray[np.bool_],
    settings: TrainSettings,
    on_no_negatives: OnNoNegatives = "drop",
) -> Reasons:
    """Why each row goes, the first reason that applies in the order of :data:`REASONS`."""
    reasons = np.zeros(len(sound), np.uint8)

    def drop(rows: NDArray[np.bool_], reason: str) -> None:
        reasons[rows & (reasons == 0)] = REASONS.index(reason)

    drop(~sound, "bad_row")
    drop(facts.without_positive(settings), "no_positive")
    if on_no_negatives == "drop":
        drop(facts.without_negatives(settings), "no_negatives")
    # NaN, a row without scores, passes both filters.
    if settings.teacher_scores_margin is not None:
        low = facts.highest - facts.lowest < settings.teacher_scores_margin
        drop(low, "teacher_scores_margin")
    if settings.teacher_scores_min is not None:
        drop(facts.highest < settings.teacher_scores_min, "teacher_scores_min")
    return reasons


def sample(reasons: Reasons, numbers: NDArray[np.int64], limit: int | None, key: int) -> None:
    """Leave ``limit`` rows at the most, in place: those whose numbers hash lowest under ``key``."""
    kept = np.flatnonzero(reasons == 0)
    if limit is not None and len(kept) > limit:
        order = np.argsort(hash_rows(key, numbers[kept]), kind="stable")
        reasons[kept[order[limit:]]] = REASONS.index("max_sample_num")


def count_reasons(reasons: Reasons) -> Mapping[str, int]:
    """{reason: rows} of those that go."""
    # One after the other, as bincount would make eight bytes of each.
    counts = {reason: int((reasons == i).sum()) for i, reason in enumerate(REASONS) if i}
    return {reason: n_rows for reason, n_rows in counts.items() if n_rows}
