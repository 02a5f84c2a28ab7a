"""Parquet and Arrow files as plain records, nested columns too, read by a process of their own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import pyarrow as pa

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.rows.files.tables import table_rows


def table_records(
    path: str, file_format: Literal["parquet", "arrow"], *, most: int | None = None
) -> Iterator[dict[str, Any]]:
    """The rows of a table as dicts.

    Args:
        path: of the file.
        file_format: of it; an ``arrow`` file may be a stream.
        most: rows that the caller will take, where these are few.

    Raises:
        DataError: the file is damaged, or two of its columns have one name.
    """
    for batch in table_rows(path, file_format, most):
        try:
            records = batch.to_pylist()
        except (pa.ArrowException, ValueError, OverflowError) as error:  # a date beyond Python's
            raise DataError.at(
                path, f"a value cannot be read: {error} (write it as text)"
            ) from error
        yield from records
