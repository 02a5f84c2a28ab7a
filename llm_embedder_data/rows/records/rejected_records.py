"""Records that give no row, gathered while files are read, so that a user can look at them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from llm_embedder_data.core.printable import beginning, one_line

# Records that are kept of one reading; the others are counted.
MOST_REJECTED = 1000

# Characters of a record's content, and of a reason, that are kept.
MOST_CHARACTERS = 500

# A sentence on a record that begins with the name of a field: "pos[1]: ...", "pos holds a null".
_FIELD = re.compile(r"(?!it\b)([A-Za-z_]\w*)(?:\[\d+\])?(?:[:=]| (?:is|has|holds)\b)")


class RejectedRecord(NamedTuple):
    """A record that gave no row.

    Attributes:
        file: that holds it.
        row: its number in the file, from 0; None if unknown.
        line: on which it begins, from 1; None where the file has no lines.
        reason: one sentence, of :data:`MOST_CHARACTERS` at most.
        value: what it holds, as :func:`excerpt` gives it; None if that is unknown.
    """

    file: str
    row: int | None
    line: int | None
    reason: str
    value: str | None

    @property
    def field(self) -> str | None:
        """The field that the reason begins with; None if it begins with none."""
        found = _FIELD.match(self.reason)
        return None if found is None else found[1]


class RejectedRecords:
    """The first records that were rejected, and how many there were.

    A reader may read the beginning of a file twice, or all of it. Each pass goes forward, so a
    record is known when a later one was rejected for the same reason before.

    Attributes:
        first: the first :data:`MOST_REJECTED`.
        n_records: all of them.
    """

    def __init__(self) -> None:
        self.first: list[RejectedRecord] = []
        self.n_records = 0
        self._last: dict[tuple[str, str], int] = {}
        self._others: set[RejectedRecord] = set()

    def add(self, file: str, row: int | None, line: int | None, reason: str, value: Any) -> None:
        """Take a record; ``value`` is what it holds, or None."""
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
        """Take the records of another reading, once.

        Args:
            kept: as :meth:`as_kept` gave them.
            paths: the path of a file now, by the one at that reading.
        """
        records = [RejectedRecord(paths.get(file, file), *rest) for file, *rest in kept["first"]]
        if not records or records[0] in self._others:
            return
        self._others.add(records[0])
        self.first += records[: MOST_REJECTED - len(self.first)]
        self.n_records += kept["n_records"]

    def as_kept(self) -> dict[str, Any]:
        """Return the records in plain Python, as JSON has it."""
        return {"first": [list(record) for record in self.first], "n_records": self.n_records}


# Takes the records that are rejected; None where nobody asks.
GATHERED: ContextVar[RejectedRecords | None] = ContextVar("rejected records", default=None)


@contextmanager
def gathering() -> Iterator[RejectedRecords]:
    """Gather the records that are rejected inside the block."""
    rejected = RejectedRecords()
    token = GATHERED.set(rejected)
    try:
        yield rejected
    finally:
        GATHERED.reset(token)


def note_rejected(
    file: str, row: int | None, line: int | None, reason: str, value: Any = None
) -> None:
    """Hand a rejected record to whoever gathers them."""
    if (rejected := GATHERED.get()) is not None:
        rejected.add(file, row, line, reason, value)


def excerpt(value: Any, longest: int = MOST_CHARACTERS) -> str:
    """Return the beginning of a record's content on one line, without control characters.

    Args:
        value: text as it is; anything else is written as JSON.
        longest: characters of it that are read; escapes of control characters make it longer.
    """
    if isinstance(value, bytes):
        value = value[: 4 * longest].decode("utf-8", "replace")
    text = value if isinstance(value, str) else _as_json(value, longest)
    return one_line(beginning(text[: longest + 1], longest).rstrip())


def _as_json(value: Any, longest: int) -> str:
    # In parts: of a record of half a gigabyte only the beginning is needed.
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
