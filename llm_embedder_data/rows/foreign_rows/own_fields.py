"""Adds the task and the instruction that a record of any format may name to its row."""

from __future__ import annotations

from collections.abc import Mapping

from llm_embedder_data.rows.formats.own_instruction import instruction_of
from llm_embedder_data.rows.formats.parts import OWN_FIELDS, Parts
from llm_embedder_data.rows.schema.canonical_rows import BadRowError, Row, text_of


def add_own_fields(row: Row, parts: Parts) -> None:
    """Add ``task`` and ``instruction`` of the current record to a row, if it names them.

    What the format's reader found stays: it may take the task from a column of another name, and
    the instruction from the query.

    Args:
        row: a canonical training or eval row of the current record.
        parts: the parts of the source.

    Raises:
        DataError: a value has another type. If bad rows are skipped, it is counted and not used.
    """
    record = None if parts.at is None else parts.at[1].value
    if not isinstance(record, Mapping):  # the first of several has only these fields, if any
        return
    for name in OWN_FIELDS:
        value = record.get(name)
        # A reader that asked for it knows more: the query may hold the instruction already.
        if value is None or row.get(name) is not None or name in parts.read_names:
            continue
        try:
            found = text_of(value, name) if name == "task" else instruction_of(value)
        except BadRowError as error:
            if not parts.skips_bad_rows:
                raise parts.error(str(error)) from error
            parts.counts[f"values of {name} that are not used, as they are no texts"] += 1
            continue
        if found is not None:
            row[name] = found
