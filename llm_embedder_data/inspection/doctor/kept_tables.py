"""The kept rows of a training set, as tables of bounded size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from llm_embedder_data.batches.groups.gathering import gathered
from llm_embedder_data.rows.train_sets import TrainSet

_ROWS_AT_ONCE = 8192


def kept_tables(
    train_set: TrainSet, columns: Sequence[str], rows: NDArray[np.int64] | None = None
) -> Iterator[tuple[NDArray[np.int64], pa.Table]]:
    """Yield row numbers and their table, in order.

    Args:
        train_set: that is read.
        columns: of the tables.
        rows: ``[n]`` int64, row numbers; None: all that are kept.
    """
    tables = train_set.tables(list(columns))
    rows = train_set.kept if rows is None else rows
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        yield from gathered(tables, np.asarray(rows[start : start + _ROWS_AT_ONCE]))
