"""Reads a file from beginning to end, some rows at a time, and checks every value."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pyarrow as pa

from llm_embedder_data.rows.files.table_process.file_batches import (
    Progress,
    file_batches,
    no_progress,
)
from llm_embedder_data.rows.files.table_process.plain_columns import (
    Kinds,
    checked,
    plain,
    readable,
    validate,
    with_columns,
)
from llm_embedder_data.rows.files.table_process.row_sizes import SLICE_BYTES, SLICE_ROWS, sliced
from llm_embedder_data.rows.files.table_process.table_messages import Unreadable

# A damaged file may claim any number of rows that take no space, such as nulls. A file that claims
# more than 1,000 rows per byte, and more than a million rows, is refused.
_ROWS_PER_BYTE = 1000
_ROWS_IN_ANY_CASE = 1_000_000


def checked_slices(
    path: str, file_format: str, kinds: Kinds, progress: Progress = no_progress
) -> Iterator[pa.RecordBatch]:
    """Yield the wanted columns of a file, some rows at a time, in the file's order.

    Every array is fully validated. The types are strings, integers, floats, lists of these, structs
    of strings for instructions, and null for a column without values. Columns that the file lacks
    are left out. A slice holds about :data:`.SLICE_BYTES`, or a single row.

    Args:
        path: the file.
        file_format: ``"parquet"`` or ``"arrow"``.
        kinds: the kinds of values that each wanted column must hold, by its name in the file.
        progress: called with the share of the file that was read so far.

    Raises:
        Unreadable: a column appears twice, holds invalid values, or has a type that its kinds do
            not allow; a row is larger than 2 GiB; the file has more or fewer rows than it claims,
            or claims more rows than its size allows.
        pa.ArrowException, OSError, ValueError, MemoryError: from pyarrow, for a damaged file.
    """
    n_rows, most = 0, max(_ROWS_IN_ANY_CASE, _ROWS_PER_BYTE * os.path.getsize(path))
    for batch in file_batches(path, file_format, list(kinds), progress):
        if n_rows + batch.num_rows > most:
            raise Unreadable(_more_rows_than(most, path))
        for part in sliced(checked(batch, kinds), n_rows):
            yield with_columns(part, [plain(array) for array in part.columns])
        n_rows += batch.num_rows


def row_slices(
    path: str, file_format: str, most: int | None = None, progress: Progress = no_progress
) -> Iterator[pa.RecordBatch]:
    """Yield all columns of a file, of any type, some rows at a time; every array is validated.

    A column of bytes becomes strings if all of it is UTF-8, and decimals become numbers.

    Args:
        path: the file.
        file_format: ``"parquet"`` or ``"arrow"``.
        most: the number of rows to read; None reads all.
        progress: called with the share of the file that was read so far, if all of it is read.

    Raises:
        Unreadable: a column appears twice or holds invalid values; the file has more or fewer rows
            than it claims, or claims more rows than its size allows.
        pa.ArrowException, OSError, ValueError, MemoryError: from pyarrow, for a damaged file.
    """
    n_rows, bound = 0, max(_ROWS_IN_ANY_CASE, _ROWS_PER_BYTE * os.path.getsize(path))
    watched = progress if most is None else no_progress
    for batch in file_batches(path, file_format, None, watched):
        if n_rows + batch.num_rows > bound:
            raise Unreadable(_more_rows_than(bound, path))
        if most is not None:
            batch = batch.slice(0, most - n_rows)
        n_rows += batch.num_rows
        batch.validate()
        for name, array in zip(batch.schema.names, batch.columns, strict=True):
            validate(name, array)
        batch = with_columns(batch, [readable(array) for array in batch.columns])
        n_parts = batch.nbytes // SLICE_BYTES + 1
        n_each = max(1, min(SLICE_ROWS, -(-batch.num_rows // n_parts)))
        for first in range(0, batch.num_rows, n_each):
            yield batch.slice(first, n_each)
        if most is not None and n_rows >= most:
            return


# --------------------------------------------------------------------------------------------------


def _more_rows_than(most: int, path: str) -> str:
    return (
        f"it claims more than {most:,} rows, which its {os.path.getsize(path):,} bytes cannot hold "
        "(it is damaged: write it again)"
    )
