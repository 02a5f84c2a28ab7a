"""Turns structs of lists into lists of structs, in columns whose records hold lists of objects.

Hugging Face datasets stores a ``Sequence`` of structs as a struct of lists: ``{"docid": ["a", "b"],
"text": ["x", "y"]}`` stands for ``[{"docid": "a", "text": "x"}, {"docid": "b", "text": "y"}]``.
Other columns may mean something else by a dict of lists, such as the negatives of several miners.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_COLUMNS = frozenset(
    (
        *("positive_passages", "negative_passages", "paragraphs", "pos_doc", "neg_doc"),
        *("positive_ctxs", "negative_ctxs", "hard_negative_ctxs", "api_list"),
        *("messages", "positive_messages", "negative_messages", "rejected_messages"),
    )
)


def columns_to_turn(records: Iterable[Any]) -> tuple[str, ...]:
    """Return the columns in which some of the records have structs of lists."""
    found = {
        name: None
        for record in records
        if isinstance(record, dict)
        for name in record.keys() & _COLUMNS
        if as_structs(record[name]) is not record[name]
    }
    return tuple(found)


def with_structs(record: dict[str, Any], columns: Iterable[str]) -> dict[str, Any]:
    """Return a record with lists of structs in some of its columns."""
    return record | {name: as_structs(record[name]) for name in columns if name in record}


def as_structs(value: Any, depth: int = 1) -> Any:
    """Return a struct of lists of one length as a list of structs, also inside lists.

    Other values are returned as they are.

    Args:
        value: any value.
        depth: how deep a list may be nested whose structs are turned.
    """
    if isinstance(value, list):
        if depth < 0:
            return value
        entries = [as_structs(entry, depth - 1) for entry in value]
        is_same = all(entry is given for entry, given in zip(entries, value, strict=True))
        return value if is_same else entries
    if not isinstance(value, dict) or not value:
        return value
    lists = list(value.values())
    if not all(isinstance(entry, list) and len(entry) == len(lists[0]) for entry in lists):
        return value
    return [dict(zip(value, entries, strict=True)) for entries in zip(*lists, strict=True)]
