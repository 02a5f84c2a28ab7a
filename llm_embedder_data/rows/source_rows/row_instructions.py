"""Instructions that rows bring along: where files hold them, which rows have them, the longest."""

from __future__ import annotations

from dataclasses import replace

import datasets
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from llm_embedder_data.rows.schema.query_columns import INSTRUCTION
from llm_embedder_data.rows.schema.row_kind import RowKind
from llm_embedder_data.rows.source_rows.source_rows import renamed_fields
from llm_embedder_data.rows.sources.sources import Source

# The columns of the rows' instructions. Eval rows only have the first column.
QUERY_INSTRUCTION, KEY_INSTRUCTION = "query_instruction", "key_instruction"
INSTRUCTION_COLUMNS = (QUERY_INSTRUCTION, KEY_INSTRUCTION)


def kind_of_source(source: Source, kind: RowKind) -> RowKind | None:
    """Return a kind of rows with the names that its columns have in a source's files.

    A file may hold something else in a column called ``instruction``. If the source reads another
    field from that column, its rows have no instructions.

    Returns:
        The kind; None if the source names columns in a way that only readers of foreign formats
        understand.

    Raises:
        ConfigError: two fields would be read from the same column.
    """
    columns = kind.columns
    if INSTRUCTION.name not in source.fields and INSTRUCTION.name in source.fields.values():
        columns = tuple(column for column in columns if column.name != INSTRUCTION.name)
    fields = renamed_fields(source, [column.name for column in columns])
    return None if fields is None else replace(kind, columns=columns, fields=fields)


def count_instructed(rows: datasets.Dataset, kept: NDArray[np.bool_]) -> int:
    """Return how many kept rows bring an instruction for their query or their keys.

    Args:
        rows: a dataset with columns of ``TRAIN_SCHEMA`` or of eval rows.
        kept: whether each row is kept, ``[n]`` bool.
    """
    columns = [rows.data.column(name) for name in _columns_of(rows)]
    if all(column.null_count == len(column) for column in columns):
        return 0
    is_instructed = np.zeros(len(kept), bool)
    for column in columns:
        is_instructed |= column.is_valid().to_numpy()
    return int((is_instructed & kept).sum())


def longest_instructions(
    rows: datasets.Dataset, kept: NDArray[np.int64], most: int = 4096
) -> tuple[list[str], list[str]]:
    """Return the longest distinct instructions of kept rows' queries, and those of their keys.

    Args:
        rows: a dataset with columns of ``TRAIN_SCHEMA`` or of eval rows.
        kept: the numbers of the kept rows, ``[n]`` int64.
        most: the maximum number of each, because every row may have a different instruction.
    """
    is_kept = np.zeros(len(rows), bool)
    is_kept[kept] = True
    found: dict[str, list[str]] = {name: [] for name in INSTRUCTION_COLUMNS}
    for name in _columns_of(rows):
        column = rows.data.column(name)
        if column.null_count < len(column):
            distinct = column.filter(pa.array(is_kept)).unique().drop_null().to_pylist()
            found[name] = sorted(distinct, key=lambda text: (-len(text), text))[:most]
    return found[QUERY_INSTRUCTION], found[KEY_INSTRUCTION]


# --------------------------------------------------------------------------------------------------


def _columns_of(rows: datasets.Dataset) -> list[str]:
    return [name for name in INSTRUCTION_COLUMNS if name in rows.column_names]
