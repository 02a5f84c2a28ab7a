"""Reads the records of files in any container, whatever format the records have.

The container is detected from the content: JSON Lines (objects or arrays), a JSON array, a JSON
object, delimited text with or without a header, text of fields between white space, Parquet or
Arrow. Text files may be compressed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.rows.files.raw_content import (
    HEAD_BYTES,
    content_head,
    not_utf8,
    table_format,
)
from llm_embedder_data.rows.files.unreadable_files import unreadable
from llm_embedder_data.rows.records.delimited_dialect import Dialect, dialect_of, is_scored_pair
from llm_embedder_data.rows.records.delimited_records import BLANK, BadRecord, cell_records
from llm_embedder_data.rows.records.json_records import (
    array_values,
    has_large_line,
    json_container,
    line_values,
    object_values,
)
from llm_embedder_data.rows.records.rejected_records import note_rejected
from llm_embedder_data.rows.records.struct_lists import columns_to_turn, with_structs

Container = Literal["lines", "array", "object", "cells", "fields", "table"]

# The paths of all files that are opened are added to this set; None: they are not collected.
OPENED: ContextVar[set[str] | None] = ContextVar("opened files", default=None)

# The number of records from which a format is detected.
LOOKED_AT = 50

_CONTAINERS = {
    "lines": "JSON Lines",
    "array": "a JSON array",
    "object": "a JSON object",
    "fields": "fields between blanks",
}


class RawRecord(NamedTuple):
    """A record of a file, before its format is known.

    Attributes:
        value: an object (dict), an array (list), or the cells of a line in a file without header
            (list of str).
        row: the record's number in the file, from 0.
        line: the line on which it begins, from 1; None if the container has no lines.
    """

    value: Any
    row: int
    line: int | None


# The file of a record, its number in the file, from 0, and its line, from 1, or None.
RecordPlace = tuple[str, int, int | None]


@dataclass(frozen=True)
class RawFile:
    """A file whose container is detected from its content. Iterate over it to get the records.

    Iterating raises :class:`DataError` if the file or a record cannot be read.

    Attributes:
        path: the file.
        names: the names of columns that the user gave; a first line with one of them is a header.
        skips_bad_records: whether records that cannot be read are counted and left out; otherwise
            they are errors.
        rename: returns a record with canonical names; None if the user renamed no columns.
        counts: the number of records that were left out, by reason.
    """

    path: str
    names: tuple[str, ...] = field(default=())
    skips_bad_records: bool = False
    rename: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    counts: Counter[str] = field(default_factory=Counter, compare=False)

    @property
    def name(self) -> str:
        """The file's name without the ending of a compression."""
        name = Path(self.path).name
        return re.sub(r"\.(gz|zst|bz2|xz)$", "", name, flags=re.IGNORECASE)

    @cached_property
    def container(self) -> Container:
        """The container of the records.

        Raises:
            DataError: the file cannot be read, or its content holds no rows.
        """
        if self._table:
            return "table"
        first_line = self._head.partition(b"\n")[0].decode(errors="replace")
        is_run = is_scored_pair(first_line.rstrip("\r").split("\t"))  # an id may begin with { or [
        if self._head.lstrip()[:1] in (b"{", b"[") and not is_run:
            found = json_container(self._head, is_whole=self._is_whole)
            is_long = found == "lines" and not self._is_whole and b"\n" not in self._head
            return "object" if is_long and self._has_large_line() else found
        return "cells" if self._dialect.delimiter else "fields"

    @property
    def header(self) -> tuple[str, ...] | None:
        """The names of the columns of delimited text; None if there is no header."""
        return self._dialect.header if self.container == "cells" else None

    @property
    def dialect(self) -> str | None:
        """A description of how delimited text is read; None for other files."""
        return str(self._dialect) if self.container in ("cells", "fields") else None

    @property
    def found(self) -> str:
        """What the file is, in a few words, for reports."""
        if self.container == "cells":
            return f"text of {self._dialect}"
        return _CONTAINERS.get(self.container) or str(self._table).capitalize()

    @cached_property
    def head(self) -> list[Any]:
        """The values of the first records, with canonical names."""
        return [record.value for record in self._renamed(iter(self._first_records))]

    @property
    def original_head(self) -> list[Any]:
        """The values of the first records, with the names in the file."""
        return [record.value for record in self._first_records]

    @cached_property
    def fields(self) -> dict[str, None]:
        """The names of the fields of the first records, in order of appearance."""
        return {name: None for value in self.head if isinstance(value, dict) for name in value}

    def values(self, name: str) -> list[Any]:
        """Return the values of a field in the first records, without nulls."""
        found = [value.get(name) for value in self.head if isinstance(value, dict)]
        return [value for value in found if value is not None]

    def __iter__(self) -> Iterator[RawRecord]:
        first = self._first_records
        return self._renamed(iter(first) if len(first) < LOOKED_AT else self._records())

    def _renamed(self, records: Iterator[RawRecord]) -> Iterator[RawRecord]:
        rename, to_turn = self.rename, self._to_turn
        if to_turn:
            records = (
                RawRecord(with_structs(record.value, to_turn), record.row, record.line)
                if type(record.value) is dict
                else record
                for record in records
            )
        if rename is None:
            return records
        return (
            RawRecord(rename(value), row, line)
            if type(value) is dict
            else RawRecord(value, row, line)
            for value, row, line in records
        )

    # -- what the file begins with -----------------------------------------------------------------

    @cached_property
    def _table(self) -> Literal["parquet", "arrow"] | None:
        if (opened := OPENED.get()) is not None:
            opened.add(self.path)
        try:
            return table_format(self.path)  # type: ignore[return-value]
        except OSError as error:
            raise unreadable(self.path, error) from error

    @cached_property
    def _head(self) -> bytes:
        try:
            return content_head(self.path)
        except (OSError, EOFError) as error:
            raise unreadable(self.path, error) from error

    def _has_large_line(self) -> bool:
        try:
            return has_large_line(self.path)
        except (OSError, EOFError) as error:
            raise unreadable(self.path, error) from error

    @property
    def _is_whole(self) -> bool:
        return len(self._head) < HEAD_BYTES - 3  # a byte order mark has 3 bytes and was removed

    @cached_property
    def _dialect(self) -> Dialect:
        text = self._head.decode("utf-8", "replace")
        try:
            return dialect_of(text, self.name, self.names, is_whole=self._is_whole)
        except ValueError as error:
            raise DataError.at(self.path, str(error), line=None) from error

    @cached_property
    def _first_records(self) -> list[RawRecord]:
        counted = Counter(self.counts)
        found = list(islice(self._records(most=LOOKED_AT), LOOKED_AT))
        if len(found) == LOOKED_AT:  # bad records will be counted when the file is read again
            self.counts.clear()
            self.counts.update(counted)
        return found

    @cached_property
    def _to_turn(self) -> tuple[str, ...]:
        return columns_to_turn(record.value for record in self._first_records)

    # -- records -----------------------------------------------------------------------------------

    def _records(self, most: int | None = None) -> Iterator[RawRecord]:
        try:
            if self.container == "lines":
                values = line_values(self.path)
            elif self.container in ("cells", "fields"):
                values = cell_records(self.path, self._dialect)
            else:
                yield from self._unnumbered(most)
                return
            for row, (line, value) in enumerate(values):
                if type(value) is BadRecord:
                    self._leave_out(value, row, line)
                else:
                    yield RawRecord(value, row, line)
        except UnicodeDecodeError as error:
            raise not_utf8(self.path) from error
        except (OSError, EOFError) as error:
            raise unreadable(self.path, error) from error

    def _unnumbered(self, most: int | None) -> Iterator[RawRecord]:
        """Yield the records of a container that has no lines."""
        if self._table:
            from llm_embedder_data.rows.records.table_records import table_records

            rows: Iterable[Any] = table_records(self.path, self._table, most=most)
            if most is not None:
                rows = list(rows)  # reads to the end, or the reading process could not be reused
            yield from (RawRecord(value, row, None) for row, value in enumerate(rows))
            return
        read = array_values if self.container == "array" else object_values
        try:
            for row, value in enumerate(read(self.path)):
                yield RawRecord(value, row, None)
        except UnicodeDecodeError as error:
            raise not_utf8(self.path) from error
        except ValueError as error:
            if isinstance(error, DataError):
                raise
            raise DataError.at(self.path, f"not JSON: {error}") from error

    def _leave_out(self, bad: BadRecord, row: int, line: int) -> None:
        if bad is BLANK:
            self.counts["lines of empty cells"] += 1
            return
        if not self.skips_bad_records:
            raise DataError.at(self.path, bad.sentence, row=row, line=line)
        self.counts["records that cannot be read"] += 1
        note_rejected(self.path, row, line, bad.sentence, bad.content)
