"""Checks on whole columns of rows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llm_embedder_data.rows.columns.column import Faults


class ListView:
    """A list column as flat values, with the start and length of each row's list.

    Attributes:
        starts: ``[n_rows]`` int64, indices into ``values``.
        lengths: ``[n_rows]`` int64; 0 for null.
        values: the entries of all lists.
    """

    def __init__(self, column: pa.ListArray) -> None:
        offsets = column.offsets.to_numpy()
        self.starts: NDArray[np.int64] = offsets[:-1].astype(np.int64)
        valid = column.is_valid().to_numpy(zero_copy_only=False)
        self.lengths: NDArray[np.int64] = np.where(valid, np.diff(offsets), 0).astype(np.int64)
        self.values: pa.Array = column.values


def slice_indices(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the indices that slices cover, one slice after the other.

    Args:
        starts: ``[n]`` int64.
        lengths: ``[n]`` int64.

    Returns:
        ``[lengths.sum()]`` int64.

    >>> import numpy as np
    >>> slice_indices(np.array([4, 0]), np.array([2, 3])).tolist()
    [4, 5, 0, 1, 2]
    """
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    indices: NDArray[np.int64] = np.arange(total) + np.repeat(starts - (ends - lengths), lengths)
    return indices


def add_fault(rows: NDArray[np.bool_], faults: Faults, sentence: Callable[[int], str]) -> None:
    """Add a fault to each row of a mask, unless the row has one already.

    Args:
        rows: ``[n]`` bool.
        faults: ``[n]``; changed in place.
        sentence: what is wrong with a row, by its index.
    """
    for row in np.flatnonzero(rows).tolist():
        faults[row] = faults[row] or sentence(row)


def is_blank(texts: pa.StringArray) -> NDArray[np.bool_]:
    """Return whether each text is empty or white space, ``[n]`` bool; False for null."""
    is_empty = pc.equal(pc.binary_length(texts), 0)
    blank: NDArray[np.bool_] = (
        pc.or_(is_empty, pc.utf8_is_space(texts)).fill_null(False).to_numpy(zero_copy_only=False)
    )
    return blank
