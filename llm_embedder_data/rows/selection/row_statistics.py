"""The statistics of training rows that filters use."""

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
        table: rows with columns of ``TRAIN_SCHEMA``.

    Attributes:
        n_pos: int32, the number of labelled positives.
        n_negatives: int32, the number of negatives if the positive is a labelled one.
        n_negatives_of_teacher: int32, the number of negatives if the teacher chooses the positive.
        highest: float64, the highest teacher score; NaN for rows without scores.
        lowest: float64, the lowest teacher score; NaN for rows without scores.
    """

    def __init__(self, table: pa.Table) -> None:
        self.n_pos: NDArray[np.int32] = table.column("n_pos").to_numpy()
        self.n_negatives: NDArray[np.int32] = table.column("n_neg").to_numpy()
        self.n_negatives_of_teacher: NDArray[np.int32] = table.column("n_neg_teacher").to_numpy()
        self.highest: NDArray[np.float64] = table.column("score_max").to_numpy()
        self.lowest: NDArray[np.float64] = table.column("score_min").to_numpy()

    @property
    def scored(self) -> NDArray[np.bool_]:
        """Whether each row has teacher scores, ``[n]`` bool."""
        return ~np.isnan(self.highest)

    @property
    def left_to_teacher(self) -> NDArray[np.bool_]:
        """Whether each row has scores, but no labelled positive, ``[n]`` bool."""
        rows: NDArray[np.bool_] = (self.n_pos == 0) & self.scored
        return rows

    def without_positive(self, settings: TrainSettings) -> NDArray[np.bool_]:
        """Return whether the strategy finds no positive in each row, ``[n]`` bool."""
        without: NDArray[np.bool_] = self.n_pos == 0
        teacher_may_choose = settings.select_positive in ("teacher", FIRST_ELSE_TEACHER)
        return without & ~self.scored if teacher_may_choose else without

    def negatives_left(self, settings: TrainSettings) -> NDArray[np.int32]:
        """Return the number of hard negatives of each row, given its positive, ``[n]`` int32."""
        if settings.select_positive == "teacher":
            return np.where(self.scored, self.n_negatives_of_teacher, self.n_negatives)
        if settings.select_positive == FIRST_ELSE_TEACHER:
            return np.where(self.left_to_teacher, self.n_negatives_of_teacher, self.n_negatives)
        return self.n_negatives

    def without_negatives(self, settings: TrainSettings) -> NDArray[np.bool_]:
        """Return whether each row has no hard negative, given its positive, ``[n]`` bool."""
        without: NDArray[np.bool_] = self.negatives_left(settings) == 0
        return without


def statistics_by_block(table: pa.Table) -> Iterator[tuple[slice, RowStatistics]]:
    """Yield the slice and the statistics of some thousand rows at a time."""
    end = 0
    for batch in table.select(_COLUMNS).to_batches(max_chunksize=_ROWS_AT_ONCE):
        start, end = end, end + len(batch)
        yield slice(start, end), RowStatistics(pa.Table.from_batches([batch]))
