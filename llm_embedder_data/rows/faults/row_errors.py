"""Errors about the rows of a dataset: bad rows, files of the wrong shape, and no rows left."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.rows.faults.row_locations import RowLocations
from llm_embedder_data.rows.files.file_formats import Format
from llm_embedder_data.rows.files.json_files import line_of_row

# The number of different faults that are shown, and of bad rows among which they are searched.
_MOST_SHOWN = 10
_MOST_SEARCHED = 1000

# What to do about rows that were dropped for a reason. Other reasons are names of settings, or
# sentences of a foreign format's reader.
_REMEDIES = {
    "bad_row": "correct the bad rows",
    "documents unknown": "give the corpus that the ids belong to",
    "no_positive": "give the rows a pos, or teacher_scores and data.select_positive=teacher",
    "no_negatives": "data.on_no_negatives=keep trains on pairs, with other queries' keys as "
    "negatives; the verb mine finds negatives",
    "no_negatives_left": "loosen the limits on negatives, or keep rows that lose all with "
    "data.on_no_negatives=keep",
}


class Selected(Protocol):
    """A dataset that keeps some of its rows, and counts the others by reason."""

    @property
    def name(self) -> str: ...
    @property
    def files(self) -> tuple[str, ...]: ...
    @property
    def kept(self) -> NDArray[np.int64]: ...
    @property
    def n_read(self) -> int: ...
    @property
    def dropped(self) -> Mapping[str, int]: ...
    @property
    def notes(self) -> tuple[str, ...]: ...


def bad_rows_error(
    fault: pa.ChunkedArray, bad: NDArray[np.int64], error_at: Callable[[int, str], DataError]
) -> DataError:
    """Return one error for all bad rows: the first ten different faults, and counts.

    Args:
        fault: what is wrong with each row, or null, ``[n_rows]``.
        bad: the numbers of the bad rows, ascending, ``[n]`` int64; at least one.
        error_at: returns the error at a row, with a sentence.
    """
    first: dict[str, int] = {}
    for row in bad[:_MOST_SEARCHED].tolist():
        first.setdefault(str(fault[row]), row)
    errors, n_told = [], 0
    for sentence, row in list(first.items())[:_MOST_SHOWN]:
        n_rows = pc.sum(pc.equal(fault, sentence)).as_py()
        n_told += n_rows
        count = f"; in {n_rows:,} rows" if n_rows > 1 else ""
        errors.append(error_at(row, f"{sentence}{count}"))
    message = "\n".join(map(str, errors))
    if len(bad) > n_told:
        message += f"\n... and {len(bad) - n_told} more bad rows"
    return errors[0].reworded(message)


def error_at_row(
    files: Sequence[str],
    n_rows: Sequence[int],
    row: int,
    sentence: str,
    format: Format,
    locations: RowLocations | None = None,
) -> DataError:
    """Return an error that names the file of a row, and the row's number in that file.

    Args:
        files: the files, in the order in which their rows are counted.
        n_rows: the number of rows of each file.
        row: the number of the row, counted through all files.
        sentence: what is wrong.
        format: the format of the files.
        locations: the record of each row; None if each record of the files is a row.
    """
    if locations is not None:
        at = locations.at(row)
        file, number, line = at or (files[0], row, None)
        return DataError.at(file, sentence, row=number, line=line)
    for file, n_rows_of_file in zip(files, n_rows, strict=True):
        if row < n_rows_of_file:
            return DataError.at(file, sentence, row=row, line=line_of_row(file, row, format))
        row -= n_rows_of_file
    raise AssertionError("a row beyond the last")


def require_rows(dataset: Selected) -> None:
    """Check that a dataset has rows left.

    Raises:
        DataError: it has none; the message counts the reasons.
    """
    if len(dataset.kept):
        return
    dropped = ", ".join(f"{n_rows} for {reason}" for reason, n_rows in dataset.dropped.items())
    notes = "".join(f"\n{note}" for note in dataset.notes) if "bad_row" in dataset.dropped else ""
    raise DataError.at(
        ", ".join(dataset.files),
        f"none of the {dataset.n_read} rows of dataset {dataset.name!r} is left: dropped {dropped} "
        f"({_remedies(dataset.dropped)}){notes}",
    )


def _remedies(dropped: Mapping[str, int]) -> str:
    """Return what to do if all rows were dropped for these reasons."""
    parts = [text for reason, text in _REMEDIES.items() if reason in dropped]
    # Reasons with a space are sentences of a foreign format's reader; others are setting names.
    if any(" " not in reason for reason in set(dropped) - set(_REMEDIES)):
        parts.insert(0, "loosen the setting of that name")
    return "; ".join([*parts, "or leave the source out"])
