"""The instruction that a record names for its query and its keys."""

from __future__ import annotations

from collections.abc import Mapping

from llm_embedder_data.rows.columns.instructions import SIDES, unknown_sides
from llm_embedder_data.rows.schema.canonical_rows import BadRowError, text_of


def instruction_of(value: object) -> dict[str, str | None] | None:
    """Return the instructions of query and keys; None if both are missing or blank.

    Args:
        value: the query's instruction, or an object of the texts ``query`` and ``key``.

    Raises:
        BadRowError: it has another type, or other names.
    """
    given = value if isinstance(value, Mapping) else {"query": value}
    if fault := unknown_sides(given, "instruction"):
        raise BadRowError(fault)
    found: dict[str, str | None] = {}
    for side in SIDES:
        text = given.get(side)
        is_blank = text is None or (isinstance(text, str) and not text.strip())
        found[side] = None if is_blank else text_of(text, "instruction")
    return found if any(found.values()) else None
