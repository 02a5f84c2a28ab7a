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

# Different faults that are shown, and bad rows that are searched for them.
_MOST_SHOWN = 10
_MOST_SEARCHED = 1000

# What to do about rows that were dropped for a reason. Other reasons have the name of a setting.
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
    """A dataset of which some rows are kept and the others counted by reason."""

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
        fault: what is wrong with each row, or null.
        bad: ``[n]``, the numbers of the bad rows, ascending.
        error_at: makes the error at a row from a sentence.
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
    """Return an error at a row of several files, named by the file that holds it.

    Args:
        files: in the order in which their rows are counted.
        n_rows: rows of each file.
        row: the row, counted over all files.
        sentence: what is wrong.
        format: of the files.
        locations: where each row came from; None if rows are counted as the files have them.
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
    # Reasons of a reader of another format are words; the others are names of settings.
    if any(" " not in reason for reason in set(dropped) - set(_REMEDIES)):
        parts.insert(0, "loosen the setting of that name")
    return "; ".join([*parts, "or leave the source out"])
