"""Reads Parquet and Arrow files as records, nested columns included, in a separate process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import pyarrow as pa

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.rows.files.class_names import naming_classes
from llm_embedder_data.rows.files.table_process.class_columns import features_in
from llm_embedder_data.rows.files.tables import table_rows


def table_records(
    path: str, file_format: Literal["parquet", "arrow"], *, most: int | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table as dicts.

    A number of a ``ClassLabel`` column is a :class:`NamedClass`.

    Args:
        path: the file.
        file_format: the format of the file; an ``arrow`` file may be a stream.
        most: the number of rows to read; None reads all.

    Raises:
        DataError: the file is damaged, two of its columns have the same name, or Python cannot hold
            a value.
    """
    named = None
    for batch in table_rows(path, file_format, most):
        if named is None:
            named = naming_classes(features_in(batch.schema))
        try:
            records = batch.to_pylist()
        except (pa.ArrowException, ValueError, OverflowError) as error:  # a date beyond Python's
            raise DataError.at(
                path, f"a value cannot be read: {error} (write it as text)"
            ) from error
        yield from map(named, records)
