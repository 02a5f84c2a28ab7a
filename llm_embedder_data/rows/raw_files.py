"""Files of any container as the records that lie in them, whatever format the records have.

The container is known by content: JSON Lines (objects or arrays), one JSON array, one JSON object,
text of delimited cells with or without a header, text of fields between blanks, Parquet, Arrow;
each may be compressed.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import orjson

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.rows.containers import BYTE_ORDER_MARK, head_of, opened, stranger, table_of

Container = Literal["lines", "array", "object", "cells", "fields", "table"]

# Looked at to know a container and a format: records, bytes.
LOOKED_AT = 50
_LOOKED_AT_BYTES = 1 << 18

# Names by which the first line of a file of cells is known as a header, at least two of them.
HEADER_NAMES = {
    *("query", "question", "anchor", "q", "sentence1", "sentence2", "sent0", "sent1", "sent2"),
    *("sentence_1", "sentence_2", "text1", "text2", "text_1", "text_2", "text", "text_b", "text_a"),
    *("premise", "hypothesis", "pos", "positive", "positives", "neg", "negative", "negatives"),
    *("hard_neg", "hard_negative", "answer", "answers", "response", "passage", "document", "doc"),
    *("label", "labels", "score", "scores", "similarity", "query-id", "corpus-id", "query_id"),
    *("doc_id", "docid", "document_id", "corpus_id", "qid", "pid", "did", "q_id", "id", "_id"),
    *("title", "contents", "content", "body", "url", "document_content", "split", "dataset"),
    *("filename", "genre", "year", "sid", "task", "rank", "relevance", "instruction", "prompt"),
    *("docs", "documents", "passages", "document_ids", "teacher_scores", "query_text", "type"),
}
_NUMBERED = re.compile(r"(neg|negative|hard_neg|pos|positive)_?\d+")

_BLANKS = re.compile(r"\s+")
_INTEGER = re.compile(r"[+-]?\d+")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(nan|inf)", re.IGNORECASE)

csv.field_size_limit(2_147_483_647)  # cells of megabytes are real


@dataclass(frozen=True, slots=True)
class RawRecord:
    """What lies in a file at one place.

    Attributes:
        value: an object (dict), an array (list), or the cells of a line without header (list of
            str).
        row: the record's number in the file, from 0.
        line: the line on which it begins, from 1; None where the file has no lines.
    """

    value: Any
    row: int
    line: int | None


@dataclass(frozen=True)
class RawFile:
    """One file, its container found by content.

    Attributes:
        path: of the file.
        names: further names that make a first line a header: those that the user maps.
    """

    path: str
    names: tuple[str, ...] = field(default=())

    @property
    def name(self) -> str:
        """The file's name without compression suffix."""
        name = Path(self.path).name
        return re.sub(r"\.(gz|zst|bz2|xz)$", "", name, flags=re.IGNORECASE)

    @cached_property
    def container(self) -> Container:
        """What the file is."""
        if self._table:
            return "table"
        if self._first in (b"{", b"["):
            return self._json_container
        return "cells" if self.delimiter else "fields"

    @cached_property
    def header(self) -> tuple[str, ...] | None:
        """The names of the cells of a file of cells; None where its first line is no header."""
        if self.container not in ("cells", "fields"):
            return None
        cells = next(self._cells(), None)
        if cells is None:
            return None
        names = [name.strip() for name in cells[1]]
        known = sum(
            name.lower() in HEADER_NAMES
            or name in self.names
            or bool(_NUMBERED.fullmatch(name.lower()))
            for name in names
        )
        return tuple(names) if known >= min(2, len(names)) and len(set(names)) > 1 else None

    @cached_property
    def delimiter(self) -> str | None:
        """What separates the cells of a file of text; None for runs of blanks."""
        lines = self._text_head
        if _are_trec(lines):
            return None
        if all("\t" in line for line in lines[:5]):
            return "\t"
        ending = Path(self.name).suffix.lower()
        if ending in (".tsv", ".tab"):
            return "\t"
        best = max((",", ";", "|"), key=lambda mark: (_regularity(lines, mark), mark == ","))
        return best if _regularity(lines, best) > 0 else "\t"

    @cached_property
    def is_quoted(self) -> bool:
        """Whether cells stand in quotes: where there is a header, or cells begin and end with one.

        Files of tabs without header never quote (MS MARCO): there a quote is text.
        """
        if self.delimiter == "\t":
            cells = [cell for line in self._text_head[:LOOKED_AT] for cell in line.split("\t")]
            quoted = [cell for cell in cells if len(cell) > 1 and cell[0] == cell[-1] == '"']
            first = [name.strip().strip('"').lower() for name in self._text_head[0].split("\t")]
            has_header = sum(name in HEADER_NAMES for name in first) >= 2
            stray = any(cell.startswith('"') and not cell.endswith('"') for cell in cells)
            return bool(quoted) and has_header and not stray
        return True

    @property
    def dialect(self) -> str | None:
        """How a file of cells is read, for the report."""
        if self.container == "fields":
            return "fields between blanks"
        if self.container != "cells":
            return None
        mark = {"\t": "tabs", ",": "commas", ";": "semicolons", "|": "bars"}[self.delimiter or ","]
        header = "a header" if self.header else "no header"
        return f"{mark}, {header}, {'quoted' if self.is_quoted else 'no quoting'}"

    @cached_property
    def head(self) -> list[Any]:
        """The values of the first records."""
        return [record.value for record in islice(iter(self), LOOKED_AT)]

    @cached_property
    def fields(self) -> dict[str, None]:
        """The names in the first records, in the order in which they are met."""
        return {name: None for value in self.head if isinstance(value, dict) for name in value}

    def values(self, name: str) -> list[Any]:
        """The values of a field in the first records, nulls left out."""
        found = [value.get(name) for value in self.head if isinstance(value, dict)]
        return [value for value in found if value is not None]

    def __iter__(self) -> Iterator[RawRecord]:
        try:
            if self.container == "table":
                yield from self._table_records()
            elif self.container == "lines":
                yield from self._json_lines()
            elif self.container in ("array", "object"):
                yield from self._json_document()
            else:
                yield from self._cell_records()
        except (OSError, EOFError, UnicodeDecodeError) as error:
            raise DataError.at(self.path, f"cannot be read: {error} (is it whole?)") from error

    # -- what the file begins with -------------------------------------------------------------

    @cached_property
    def _table(self) -> str | None:
        try:
            return table_of(head_of(self.path))
        except OSError as error:
            raise DataError.at(
                self.path, f"cannot be read: {error.strerror} (mend the path)"
            ) from error

    @cached_property
    def _head(self) -> bytes:
        try:
            with opened(self.path) as file:
                head: bytes = file.read(_LOOKED_AT_BYTES)
        except (OSError, EOFError) as error:
            raise DataError.at(self.path, f"cannot be read: {error} (is it whole?)") from error
        if head[:2] in (b"\x80\x03", b"\x80\x04", b"\x80\x05", b"\x80\x02"):
            raise DataError.at(
                self.path,
                "it is a pickle, which may run any code when it is opened (write its rows as JSON "
                "Lines or Parquet)",
            )
        if what := stranger(head):
            raise DataError.at(self.path, what)
        return head.removeprefix(BYTE_ORDER_MARK)

    @property
    def _first(self) -> bytes:
        return self._head.lstrip()[:1]

    @cached_property
    def _text_head(self) -> list[str]:
        text = self._head.decode("utf-8", "replace")
        lines = [line for line in text.splitlines() if line.strip()]
        cut_off = len(self._head) >= _LOOKED_AT_BYTES and len(lines) > 1
        return (lines[:-1] if cut_off else lines) or [""]

    @cached_property
    def _json_container(self) -> Container:
        lines = [line for line in self._head.split(b"\n") if line.strip()]
        is_whole = self._head.endswith(b"\n") or len(self._head) < _LOOKED_AT_BYTES
        try:
            first = _loads(lines[0])
        except ValueError:
            if self._first == b"{":
                return "object" if is_whole or len(lines) > 1 else "lines"
            return "array"
        if self._first == b"[":
            is_array_of_records = len(lines) == 1 and (
                not first or all(isinstance(entry, dict | list) for entry in first)
            )
            is_nested = is_array_of_records and not _is_scored(first)
            return "array" if is_nested else "lines"
        return "lines" if isinstance(first, dict) else "array"

    # -- records -------------------------------------------------------------------------------

    def _json_lines(self) -> Iterator[RawRecord]:
        row = 0
        with opened(self.path) as file:
            reader = io.BufferedReader(file, 1 << 20) if not hasattr(file, "peek") else file
            for number, line in enumerate(reader, 1):
                if number == 1:
                    line = line.removeprefix(BYTE_ORDER_MARK)
                if not line.strip():
                    continue
                try:
                    value = _loads(line)
                except ValueError as error:
                    raise DataError.at(
                        self.path, f"not JSON: {error}", row=row, line=number
                    ) from error
                yield RawRecord(value, row, number)
                row += 1

    def _json_document(self) -> Iterator[RawRecord]:
        with opened(self.path) as file:
            content: bytes = file.read()
        try:
            value = _loads(content.removeprefix(BYTE_ORDER_MARK))
        except ValueError as error:
            raise DataError.at(self.path, f"not JSON: {error}") from error
        values = value if isinstance(value, list) else [value]
        for row, entry in enumerate(values):
            yield RawRecord(entry, row, None)

    def _cell_records(self) -> Iterator[RawRecord]:
        cells = self._cells()
        header = self.header
        if header:
            next(cells)
        for row, (line, values) in enumerate(cells):
            if header is None:
                yield RawRecord(values, row, line)
                continue
            if len(values) != len(header):
                raise DataError.at(
                    self.path,
                    f"{len(values)} cells, and the header has {len(header)} "
                    f"({', '.join(header)}; read as {self.dialect})",
                    row=row,
                    line=line,
                )
            yield RawRecord(dict(zip(header, values, strict=True)), row, line)

    def _cells(self) -> Iterator[tuple[int, list[str]]]:
        """The cells of each line that is not blank, with the line on which they begin."""
        with opened(self.path) as file:
            text = io.TextIOWrapper(_Readable(file), "utf-8-sig", newline="")
            if self.delimiter is None:
                for number, line in enumerate(text, 1):
                    if line.strip():
                        yield number, _BLANKS.split(line.strip())
                return
            if not self.is_quoted:
                for number, line in enumerate(text, 1):
                    line = line.rstrip("\r\n")
                    if line.strip():
                        yield number, line.split(self.delimiter)
                return
            reader = csv.reader(
                text, delimiter=self.delimiter, skipinitialspace=self._has_blank_before_quote
            )
            start = 1
            try:
                for values in reader:
                    if any(value.strip() for value in values):
                        yield start, values
                    start = reader.line_num + 1
            except csv.Error as error:
                raise DataError.at(self.path, f"line {start}: {error}", line=start) from error

    @cached_property
    def _has_blank_before_quote(self) -> bool:
        return any(f'{self.delimiter} "' in line for line in self._text_head)

    def _table_records(self) -> Iterator[RawRecord]:
        from llm_embedder_data.rows.table_records import table_records

        for row, value in enumerate(table_records(self.path, self._table or "")):
            yield RawRecord(value, row, None)


class _Readable(io.RawIOBase):
    """A binary stream as the standard library's text layer wants it."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any, /) -> int:
        content = self._file.read(len(into))
        into[: len(content)] = content
        return len(content)


def _loads(content: bytes) -> Any:
    """The value of a JSON text; NaN and Infinity, which JSON has not, are read too."""
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return json.loads(content)


def _is_scored(value: Sequence[Any]) -> bool:
    """Whether an array is one ColBERT line: an id, then [id, score] pairs."""
    return bool(value) and not isinstance(value[0], list | dict)


def _are_trec(lines: Sequence[str]) -> bool:
    """Whether lines have TREC's fields: 4 of judgments, or 6 of a run."""
    rows = [line.split() for line in lines[:LOOKED_AT]]
    if not rows or not all(len(row) == len(rows[0]) for row in rows):
        return False
    if len(rows[0]) == 4:
        return all(_INTEGER.fullmatch(row[3]) for row in rows) and not all(
            "\t" in line and len(line.split("\t")) != 4 for line in lines[:LOOKED_AT]
        )
    return len(rows[0]) == 6 and all(
        _INTEGER.fullmatch(row[3]) and _NUMBER.fullmatch(row[4]) for row in rows
    )


def _regularity(lines: Sequence[str], mark: str) -> int:
    """How many cells every record has if ``mark`` separates them; 0 where they differ, or one."""
    text = "\n".join(lines[:LOOKED_AT])
    reader = csv.reader(io.StringIO(text), delimiter=mark, skipinitialspace=f'{mark} "' in text)
    try:
        lengths = {len(row) for row in reader if row}
    except csv.Error:
        return 0
    if len(lengths) == 1:
        return next(iter(lengths)) - 1
    first = len(next(csv.reader([lines[0]], delimiter=mark)))
    return 1 if first > 1 else 0


def as_mapping(value: Any) -> Mapping[str, Any]:
    """A record that is an object.

    Raises:
        TypeError: it is something else.
    """
    if not isinstance(value, Mapping):
        raise TypeError(f"expected an object, found {type(value).__name__}")
    return value
