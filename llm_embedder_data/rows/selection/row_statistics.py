"""The numbers of each training row that filters look at."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from llm_embedder_data.rows.selection.train_settings import FIRST_ELSE_TEACHER, TrainSettings

_COLUMNS = ["n_pos", "n_neg", "n_neg_teacher", "score_max", "score_min"]

_ROWS_AT_ONCE = 1 << 14


class RowStatistics:
    """The statistics of some rows, each an array ``[n]``.

    Args:
        table: columns of ``TRAIN_SCHEMA``.

    Attributes:
        n_pos: labelled positives.
        n_negatives: negatives left if the positive is a labelled one.
        n_negatives_of_teacher: negatives left if the teacher chooses the positive.
        highest: the highest teacher score, NaN without scores.
        lowest: the lowest teacher score, NaN without scores.
    """

    def __init__(self, table: pa.Table) -> None:
        self.n_pos: NDArray[np.int32] = table.column("n_pos").to_numpy()
        self.n_negatives: NDArray[np.int32] = table.column("n_neg").to_numpy()
        self.n_negatives_of_teacher: NDArray[np.int32] = table.column("n_neg_teacher").to_numpy()
        self.highest: NDArray[np.float64] = table.column("score_max").to_numpy()
        self.lowest: NDArray[np.float64] = table.column("score_min").to_numpy()

    @property
    def scored(self) -> NDArray[np.bool_]:
        """Whether a row has teacher scores."""
        return ~np.isnan(self.highest)

    @property
    def left_to_teacher(self) -> NDArray[np.bool_]:
        """Whether a row has scores, but no labelled positive."""
        rows: NDArray[np.bool_] = (self.n_pos == 0) & self.scored
        return rows

    def without_positive(self, settings: TrainSettings) -> NDArray[np.bool_]:
        """Return whether the strategy finds no positive in a row."""
        without: NDArray[np.bool_] = self.n_pos == 0
        teacher_may_choose = settings.select_positive in ("teacher", FIRST_ELSE_TEACHER)
        return without & ~self.scored if teacher_may_choose else without

    def negatives_left(self, settings: TrainSettings) -> NDArray[np.int32]:
        """Return the number of hard negatives of a row beside its positive."""
        if settings.select_positive == "teacher":
            return np.where(self.scored, self.n_negatives_of_teacher, self.n_negatives)
        if settings.select_positive == FIRST_ELSE_TEACHER:
            return np.where(self.left_to_teacher, self.n_negatives_of_teacher, self.n_negatives)
        return self.n_negatives

    def without_negatives(self, settings: TrainSettings) -> NDArray[np.bool_]:
        """Return whether a row has no hard negative beside its positive."""
        without: NDArray[np.bool_] = self.negatives_left(settings) == 0
        return without


def statistics_by_block(table: pa.Table) -> Iterator[tuple[slice, RowStatistics]]:
    """Yield the statistics of some thousand rows at a time, with the slice of these rows."""
    end = 0
    for batch in table.select(_COLUMNS).to_batches(max_chunksize=_ROWS_AT_ONCE):
        start, end = end, end + len(batch)
        yield slice(start, end), RowStatistics(pa.Table.from_batches([batch]))
