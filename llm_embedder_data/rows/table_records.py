"""Parquet and Arrow files as plain records, nested columns too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from llm_embedder_data.core.errors import DataError


def table_records(path: str, file_format: str) -> Iterator[dict[str, Any]]:
    """The rows of a table as dicts."""
    try:
        if file_format == "parquet":
            with pa.parquet.ParquetFile(path) as file:
                for batch in file.iter_batches():
                    yield from batch.to_pylist()
        else:
            with pa.memory_map(path) as source, pa.ipc.open_file(source) as reader:
                for number in range(reader.num_record_batches):
                    yield from reader.get_batch(number).to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError.at(path, f"cannot be read: {error}") from error
