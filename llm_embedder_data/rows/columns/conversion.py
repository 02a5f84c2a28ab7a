"""Converts raw rows to Arrow columns, whose types never depend on the rows.

There are two paths. The slow path converts record by record in Python, and can say what is wrong
with each value (:mod:`.record_parsing`, :mod:`.records`). On the fast path, Arrow converts many
rows at once, in a third of the time and without holding the GIL. It only accepts rows in which
every value is sound, and then returns the same columns as the slow path (:mod:`.arrow_lines`,
:mod:`.arrow_tables`). A third path is for lines of many megabytes (:mod:`.long_lines`).
"""

from __future__ import annotations

from collections.abc import Sequence

from llm_embedder_data.rows.columns.arrow_lines import columns_of_lines
from llm_embedder_data.rows.columns.arrow_tables import columns_of_table
from llm_embedder_data.rows.columns.column import Column, Columns, Faults, RawRows
from llm_embedder_data.rows.columns.long_lines import columns_of_long_line, is_long_line
from llm_embedder_data.rows.columns.record_parsing import parsed_records
from llm_embedder_data.rows.columns.records import columns_of_records


def columns_of(raw_rows: RawRows, wanted: Sequence[Column]) -> tuple[Columns, Faults]:
    """Return the wanted columns of some rows, and what is wrong with each row.

    A value of another kind than its column's is a fault, and is null in the result. Other fields of
    the rows are ignored.

    Args:
        raw_rows: JSON lines, records or a table: see ``RawRows``. The memory of a very long line
            may be released, so do not use it afterwards.
        wanted: the columns to read; at least one.

    Returns:
        The arrays by name, ``[n_rows]`` each: see ``Columns``; and ``[n_rows]`` faults.
    """
    if is_long_line(raw_rows):
        return columns_of_long_line(raw_rows, wanted)
    columns = None
    if not isinstance(raw_rows, list):
        convert = columns_of_lines if isinstance(raw_rows, memoryview) else columns_of_table
        columns = convert(raw_rows, wanted)
    if columns is not None:
        return columns, [None] * len(next(iter(columns.values())))
    records, faults = parsed_records(raw_rows, wanted)
    return columns_of_records(records, wanted, faults), faults
