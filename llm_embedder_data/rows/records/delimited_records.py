"""Reads the records of delimited text, each with the line on which it begins."""

from __future__ import annotations

import csv
import io
from collections import deque
from collections.abc import Iterator
from typing import Any, TypeAlias

from llm_embedder_data.rows.files.raw_content import open_content
from llm_embedder_data.rows.records.delimited_dialect import Dialect
from llm_embedder_data.rows.records.list_cells import list_of

# In characters. If a quoted cell is longer, its opening quote is taken for text.
_LONGEST_CELL = 1 << 24

# The line, from 1, on which a record begins; and its cells, or a sentence on what is wrong with it.
# The cells are [] for a line that holds only delimiters.
Cells: TypeAlias = tuple[int, list[str] | str]


def cell_records(path: str, dialect: Dialect) -> Iterator[tuple[int, Any]]:
    """Yield the records of a file: dicts if it has a header, otherwise lists of str.

    Yields:
        The line on which a record begins, from 1, and the record. A record that cannot be read is a
        :class:`BadRecord`.

    Raises:
        OSError, EOFError: the file cannot be read.
        UnicodeDecodeError: it is not UTF-8.
    """
    records = _cells(path, dialect)
    header, lists = dialect.header, dialect.lists
    if header is None:
        for line, cells in records:
            if not isinstance(cells, str) and cells and cells[0].startswith("\ufeff"):
                cells = _MARKED
            yield line, BadRecord(cells) if isinstance(cells, str) else cells or BLANK
        return
    _, first = next(records, (1, ""))
    n_columns = len(header)
    for line, cells in records:
        if isinstance(cells, str):
            yield line, BadRecord(cells)
            continue
        if not cells:
            yield line, BLANK
            continue
        if cells[0].startswith("\ufeff") or cells == first:
            yield line, BadRecord(_HEADER_AGAIN if cells == first else _MARKED, cells)
            continue
        if len(cells) != n_columns:
            if len(cells) < n_columns or any(map(str.strip, cells[n_columns:])):
                yield line, BadRecord(_ragged(len(cells), dialect), cells)
                continue
            del cells[n_columns:]
        record: dict[str, Any] = dict(zip(header, cells, strict=True))
        for column in lists:
            cell = cells[column]
            if not cell.strip():
                record[header[column]] = None
                continue
            if (value := list_of(cell)) is None:
                break
            record[header[column]] = value
        else:
            yield line, record
            continue
        yield (
            line,
            BadRecord(
                f"{header[column]}: the cells before it are lists, and this one is "
                f'{cell[:60]!r} (write it as a list, as in ["a", "b"])',
                cells,
            ),
        )


class BadRecord:
    """A record that cannot be read.

    Attributes:
        sentence: what is wrong with it.
        content: what could be read of the record: its text, or its cells; None if unknown.
    """

    __slots__ = ("content", "sentence")

    def __init__(self, sentence: str, content: bytes | list[str] | None = None) -> None:
        self.sentence, self.content = sentence, content


# Faults of a file into which several files were concatenated.
_MARKED = "it begins with a byte order mark, which belongs at the start of a file (take it out)"
_HEADER_AGAIN = "it repeats the header (take the line out)"

# A line that holds only delimiters. Spreadsheets write them after the last row.
BLANK = BadRecord("all its cells are empty")


def _ragged(n_cells: int, dialect: Dialect) -> str:
    header = dialect.header or ()
    names = ", ".join(name[:40] for name in header[:10])
    return (
        f"expected {len(header)} cells as the header has ({names}), found {n_cells} "
        f"(read as {dialect}; correct the line)"
    )


def _cells(path: str, dialect: Dialect) -> Iterator[Cells]:
    with (
        open_content(path) as file,
        io.TextIOWrapper(file, "utf-8-sig", newline=dialect.line_end) as text,
    ):
        delimiter = dialect.delimiter
        if dialect.is_quoted:
            yield from _QuotedText(text, dialect).records()
        elif delimiter is None:
            for number, line in enumerate(text, 1):
                if cells := line.split():
                    yield number, cells
        else:
            for number, line in enumerate(text, 1):
                if not line.isspace():
                    yield number, line.rstrip("\r\n").split(delimiter)
                elif delimiter in line:
                    yield number, []


class _Runaway(Exception):
    """A quoted cell does not end."""


class _QuotedText:
    """Reads records with quoted cells.

    If the quotes of a record do not match, its first line is read as a record by itself, and the
    parser starts again at the second line.
    """

    def __init__(self, text: Iterator[str], dialect: Dialect) -> None:
        self._text = text
        self._delimiter = dialect.delimiter or ","
        self._skips_blanks = dialect.skips_blanks
        self._n_cells = len(dialect.header) if dialect.header else None
        self._of_record: list[str] = []  # lines given to the parser since the last record
        self._again: deque[str] = deque()  # lines that the parser must read again

    def records(self) -> Iterator[Cells]:
        reader = self._reader()
        of_record, line = self._of_record, 1
        n_cells, by_tabs = self._n_cells, self._delimiter == "\t"
        while True:
            trouble: str | None = None
            cells: list[str] = []
            try:
                cells = next(reader)
            except StopIteration:
                return
            except (csv.Error, _Runaway) as error:
                trouble = str(error)
            n_lines = len(of_record)
            if trouble is None and (
                n_cells is None
                or len(cells) == n_cells
                or (len(cells) <= 1 and not any(map(str.strip, cells)))
            ):
                if not (by_tabs and n_lines > 1 and self._are_records(of_record, cells)):
                    if any(cells) and any(map(str.strip, cells)):
                        yield line, cells
                    elif len(cells) > 1:
                        yield line, []
                    line += n_lines
                    of_record.clear()
                    continue
                trouble = "lines that are records"
            first, *others = of_record
            alone = self._alone(first)
            if alone is None and trouble is None:
                # Another number of cells than the header's: the caller reports that.
                yield line, cells if any(map(str.strip, cells)) else []
                if n_lines == 1:
                    others = []
            else:
                yield line, alone if alone is not None else _sentence(trouble or "", first)
            # Read the lines after the first again.
            self._again.extendleft(reversed(others))
            of_record.clear()
            line += 1
            reader = self._reader()

    def _reader(self) -> Iterator[list[str]]:
        return csv.reader(
            self._lines(),
            delimiter=self._delimiter,
            skipinitialspace=self._skips_blanks,
            strict=True,
        )

    def _lines(self) -> Iterator[str]:
        of_record, again = self._of_record, self._again
        size = 0
        while True:
            if again:
                line = again.popleft()
            else:
                found = next(self._text, None)
                if found is None:
                    return
                line = found
            size = size + len(line) if of_record else len(line)
            of_record.append(line)
            if size > _LONGEST_CELL and len(of_record) > 1:
                raise _Runaway("a quote opens a cell, and none closes it")
            yield line

    def _are_records(self, lines: list[str], cells: list[str]) -> bool:
        """Return whether quotes that are text merged several records into one cell."""
        delimiter, n_cells = self._delimiter, self._n_cells
        return (
            n_cells is not None
            and all(line.count(delimiter) == n_cells - 1 for line in lines)
            and any("\n" in cell and delimiter in cell for cell in cells)
        )

    def _alone(self, line: str) -> list[str] | None:
        """Return the cells of a line whose quotes are not doubled; None if they are ambiguous."""
        line = line.rstrip("\r\n")
        cells = line.split(self._delimiter)
        if len(cells) != (self._n_cells or len(cells)):
            cells = _tolerantly_split(line, self._delimiter)
        if self._n_cells is None or len(cells) != self._n_cells:
            return None
        return [_unquoted(cell) for cell in cells]


def _sentence(trouble: str, line: str) -> str:
    return (
        f"its quotes are broken: {trouble} (write a quote inside a quoted cell twice; the line "
        f"begins {line[:60]!r})"
    )


def _tolerantly_split(line: str, delimiter: str) -> list[str]:
    """Return a line's cells if a quote only ends a cell before a delimiter or the line's end."""
    cells, position = [], 0
    while True:
        start = position
        if line[position : position + 1] == '"':
            end = line.find(f'"{delimiter}', position + 1)
            position = len(line) if end < 0 else end + 1
        else:
            end = line.find(delimiter, position)
            position = len(line) if end < 0 else end
        cells.append(line[start:position])
        if position >= len(line):
            return cells
        position += len(delimiter)


def _unquoted(cell: str) -> str:
    if len(cell) > 1 and cell[0] == cell[-1] == '"':
        return cell[1:-1].replace('""', '"')
    return cell
