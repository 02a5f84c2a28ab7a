"""The one error for rows that cannot be used: equal faults once, a wrong shape in one sentence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.rows.columns import Column
from llm_embedder_data.rows.file_shapes import no_records, other_shape

# Faults that are shown, each once, and the bad rows that are looked at for them.
_SHOWN = 10
_LOOKED_AT = 1000

# What to do about rows that went for a reason; for others, the setting has the reason's name.
_REMEDIES = {
    "bad_row": "mend the bad rows",
    "no_positive": "give the rows a pos, or teacher_scores and data.select_positive=teacher",
    "no_negatives": "data.on_no_negatives=keep keeps rows without",
}


def bad_rows(
    fault: pa.ChunkedArray, bad: NDArray[np.int64], error_at: Callable[[int, str], DataError]
) -> DataError:
    """One error for bad rows: the first ten faults in full, equal ones once with their number.

    Args:
        fault: what is wrong with each row, null for nothing.
        bad: ``[n]``, the numbers of the bad rows, ascending.
        error_at: an error at a row.
    """
    first: dict[str, int] = {}
    for row in bad[:_LOOKED_AT].tolist():
        first.setdefault(str(fault[row]), row)
    errors, n_told = [], 0
    for sentence, row in list(first.items())[:_SHOWN]:
        n_rows = pc.sum(pc.equal(fault, sentence)).as_py()
        n_told += n_rows
        also = f"; so in {n_rows:,} rows" if n_rows > 1 else ""
        errors.append(error_at(row, f"{sentence}{also}"))
    text = "\n".join(map(str, errors))
    if len(bad) > n_told:
        text += f"\n... and {len(bad) - n_told} more bad rows"
    error = DataError(text)
    error.path, error.row = errors[0].path, errors[0].row
    return error


def shape_of(
    path: str, kind: str, columns: Sequence[Column], found: Sequence[str]
) -> DataError | None:
    """An error for a file none of whose rows can be used because it has another shape, or None.

    Args:
        path: of the file.
        kind: of the rows, as :class:`~llm_embedder_data.rows.readers.Reading` has it.
        columns: that are read, as they are called in the file.
        found: the names of the columns of its first records.
    """
    sentence = other_shape(kind, columns, found) if found else no_records(path)
    return DataError.at(path, sentence) if sentence else None


def remedies(dropped: Mapping[str, int]) -> str:
    """What to do where rows that were dropped for these reasons were all there are."""
    parts = [text for reason, text in _REMEDIES.items() if reason in dropped]
    if set(dropped) - set(_REMEDIES):
        parts.insert(0, "loosen the setting of that name")
    return "; ".join([*parts, "or leave the source out"])
