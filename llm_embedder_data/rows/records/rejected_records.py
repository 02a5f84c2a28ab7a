"""Collects the records that become no row while files are read, to show them to the user."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from llm_embedder_data.core.printable import beginning, one_line

# The number of rejected records that are kept; the others are only counted.
MOST_REJECTED = 1000

# The number of characters that are kept of a record's content, and of a reason.
MOST_CHARACTERS = 500

# A sentence on a record that begins with the name of a field: "pos[1]: ...", "pos holds a null".
_FIELD = re.compile(r"(?!it\b)([A-Za-z_]\w*)(?:\[\d+\])?(?:[:=]| (?:is|has|holds)\b)")


class RejectedRecord(NamedTuple):
    """A record that did not become a row.

    Attributes:
        file: the path of its file.
        row: its number in the file, from 0; None if unknown.
        line: the line on which it begins, from 1; None if it has no line.
        reason: a sentence of at most :data:`MOST_CHARACTERS`.
        value: the beginning of its content, from :func:`excerpt`; None if unknown.
    """

    file: str
    row: int | None
    line: int | None
    reason: str
    value: str | None

    @property
    def field(self) -> str | None:
        """The name of the field with which the reason begins, or None."""
        found = _FIELD.match(self.reason)
        return None if found is None else found[1]


class RejectedRecords:
    """The first rejected records, and the number of all.

    A reader may read a file, or its beginning, twice. Each pass reads the records in order. So a
    record was counted before if the same or a later record was rejected for the same reason.

    Attributes:
        first: the first :data:`MOST_REJECTED` records.
        n_records: the number of all rejected records.
    """

    def __init__(self) -> None:
        self.first: list[RejectedRecord] = []
        self.n_records = 0
        self._last: dict[tuple[str, str], int] = {}
        self._others: set[RejectedRecord] = set()

    def add(self, file: str, row: int | None, line: int | None, reason: str, value: Any) -> None:
        """Add a record, unless it was added before; ``value`` is its content, or None."""
        row_number = -1 if row is None else row
        key = (file, reason)
        if row_number <= self._last.get(key, -2):
            return
        self._last[key] = row_number
        self.n_records += 1
        if len(self.first) < MOST_REJECTED:
            shown = None if value is None else excerpt(value)
            sentence = beginning(one_line(reason), MOST_CHARACTERS)
            self.first.append(RejectedRecord(file, row, line, sentence, shown))

    def add_kept(self, kept: Mapping[str, Any], paths: Mapping[str, str]) -> None:
        """Add the records that another reading kept, unless they were added before.

        Args:
            kept: the result of :meth:`as_kept`.
            paths: the current path of a file, by its path at that reading.
        """
        records = [RejectedRecord(paths.get(file, file), *rest) for file, *rest in kept["first"]]
        if not records or records[0] in self._others:
            return
        self._others.add(records[0])
        self.first += records[: MOST_REJECTED - len(self.first)]
        self.n_records += kept["n_records"]

    def as_kept(self) -> dict[str, Any]:
        """Return the records as values that JSON can hold."""
        return {"first": [list(record) for record in self.first], "n_records": self.n_records}


# Rejected records are added to this; None: they are not collected.
GATHERED: ContextVar[RejectedRecords | None] = ContextVar("rejected records", default=None)


@contextmanager
def gathering() -> Iterator[RejectedRecords]:
    """Collect the records that are rejected inside the block."""
    rejected = RejectedRecords()
    token = GATHERED.set(rejected)
    try:
        yield rejected
    finally:
        GATHERED.reset(token)


def note_rejected(
    file: str, row: int | None, line: int | None, reason: str, value: Any = None
) -> None:
    """Add a rejected record to those of the innermost :func:`gathering` block, if there is one."""
    if (rejected := GATHERED.get()) is not None:
        rejected.add(file, row, line, reason, value)


def excerpt(value: Any, longest: int = MOST_CHARACTERS) -> str:
    """Return the beginning of a record's content on one line, without control characters.

    Args:
        value: a text (str or bytes), or a value to write as JSON.
        longest: the maximum number of characters, before control characters are escaped.
    """
    if isinstance(value, bytes):
        value = value[: 4 * longest].decode("utf-8", "replace")
    text = value if isinstance(value, str) else _as_json(value, longest)
    return one_line(beginning(text[: longest + 1], longest).rstrip())


def _as_json(value: Any, longest: int) -> str:
    # Encode in parts, because a record may have half a gigabyte and only its beginning is needed.
    parts: Iterable[str] = json.JSONEncoder(
        ensure_ascii=False, skipkeys=True, default=str
    ).iterencode(value)
    text = ""
    try:
        for part in parts:
            text += part[: longest + 1]
            if len(text) > longest:
                break
    except (ValueError, RecursionError):  # an integer of thousands of digits, a deep list
        text += "..."
    return text
