"""Detects how delimited text is written: its delimiter, quotes, header, and columns of lists."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from llm_embedder_data.rows.records.header_names import column_names, is_header, n_known
from llm_embedder_data.rows.records.list_cells import list_columns

_LOOKED_AT = 50  # lines from which the dialect is detected
_MARKS = (",", ";", "|")
_NAMES = {"\t": "tabs", ",": "commas", ";": "semicolons", "|": "bars", None: "runs of blanks"}

_INTEGER = re.compile(r"[+-]?\d+")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(nan|inf)", re.IGNORECASE)
_ID = re.compile(r"(?=.*\d)[\w.:/#-]+")

csv.field_size_limit(2_147_483_647)  # the default is too low for cells of megabytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How the lines of a file become cells.

    Attributes:
        delimiter: the character between cells; None for any amount of white space.
        is_quoted: whether cells may be in quotes; otherwise a quote is part of the text.
        skips_blanks: whether to ignore a space after a delimiter, as in ``a, "b, c"``.
        header: the names of the columns; None if the first line is a record.
        line_end: the character that ends a line: ``\\n``, which includes ``\\r\\n``, or ``\\r``.
        lists: the indices of the columns whose cells are lists.
    """

    delimiter: str | None
    is_quoted: bool
    skips_blanks: bool = False
    header: tuple[str, ...] | None = None
    line_end: str = "\n"
    lists: tuple[int, ...] = ()

    def __str__(self) -> str:
        words = [_NAMES[self.delimiter], "a header" if self.header else "no header"]
        if self.delimiter is not None:
            words.append("quoted" if self.is_quoted else "no quoting")
        if self.header and self.lists:
            words.append(f"lists in {', '.join(self.header[column] for column in self.lists)}")
        return ", ".join(words)


def dialect_of(text: str, name: str, given: Collection[str] = (), *, is_whole: bool) -> Dialect:
    """Detect the dialect of a file from the beginning of its text.

    Args:
        text: the beginning of the file.
        name: the name of the file; its ending decides if the content fits several delimiters.
        given: the names of columns that the user gave.
        is_whole: whether the text is the whole file; if not, its last line is ignored.

    Raises:
        ValueError: the header names a column twice, or a column holds arrays as NumPy prints them.
    """
    before_end = text.rstrip("\r\n")
    line_end = "\r" if "\r" in before_end and "\n" not in before_end else "\n"
    lines = [line.rstrip("\r") for line in text.split(line_end)]
    if not is_whole and len(lines) > 1:
        lines.pop()
    lines = [line for line in lines if line.strip()] or [""]
    delimiter, skips_blanks = _delimiter(lines, name, given), False
    if delimiter is None:
        return Dialect(delimiter=None, is_quoted=False, line_end=line_end)
    first = _split(lines[0], delimiter, skips_blanks=False)
    header = is_header(first, given) and not is_scored_pair(first)
    if delimiter == "\t":
        is_quoted = header and _is_quoted_by_tabs(lines)
    else:
        is_quoted = True
        skips_blanks = any(cell.startswith(' "') for row in _rows(lines, delimiter) for cell in row)
    if header:
        first = _split(lines[0], delimiter, skips_blanks) if is_quoted else first
    names = column_names(first) if header else None
    lists: tuple[int, ...] = ()
    if names is not None:
        rows = (
            _rows(lines, delimiter, skips_blanks)
            if is_quoted
            else [line.split(delimiter) for line in lines]
        )
        lists = list_columns([row for row in rows[1:] if len(row) == len(names)][:_LOOKED_AT])
    return Dialect(
        delimiter=delimiter,
        is_quoted=is_quoted,
        skips_blanks=skips_blanks,
        header=names,
        line_end=line_end,
        lists=lists,
    )


def is_scored_pair(cells: Sequence[str]) -> bool:
    """Return whether cells are two ids or texts and a number, as in runs and scored pairs."""
    return len(cells) == 3 and bool(_NUMBER.fullmatch(cells[2].strip()))


def _delimiter(lines: Sequence[str], name: str, given: Collection[str]) -> str | None:
    looked_at = lines[:_LOOKED_AT]
    if _most([is_scored_pair(line.split("\t")) for line in looked_at]):
        return "\t"  # even if texts in the first two cells hold other delimiters
    by_header = {
        mark: n_known(cells)
        for mark in ("\t", *_MARKS)
        if len(cells := _split(lines[0], mark, skips_blanks=False)) > 1 and is_header(cells, given)
    }
    if by_header:
        return max(by_header, key=lambda mark: by_header[mark])
    if _are_trec(looked_at) and not _most([_is_id_and_words(line) for line in looked_at]):
        return "\t" if _most([line.count("\t") in (3, 5) for line in looked_at]) else None
    if _most(["\t" in line for line in looked_at]):
        return "\t"
    regular = {mark: _regularity(looked_at, mark) for mark in _MARKS}
    best = max(regular, key=lambda mark: regular[mark])
    if regular[best] > 0:
        return best
    if _are_ids_between_blanks(looked_at):
        return None
    ending = Path(name).suffix.lower()
    if ending in (".tsv", ".tab") and "\t" in lines[0]:
        return "\t"
    if ending == ".csv" and any(mark in lines[0] for mark in _MARKS):
        return max(_MARKS, key=lines[0].count)
    return "\t"


def _regularity(lines: Sequence[str], mark: str) -> int:
    """Return how many delimiters a record has if ``mark`` is the delimiter; 0 if that varies."""
    lengths = Counter(len(row) for row in _rows(lines, mark) if row)
    if not lengths:
        return 0
    n_cells, n_rows = lengths.most_common(1)[0]
    return n_cells - 1 if n_rows >= 0.9 * sum(lengths.values()) else 0


def _rows(lines: Sequence[str], delimiter: str, skips_blanks: bool = False) -> list[list[str]]:
    """Return the cells of the records in some lines, up to a record that is not sound CSV."""
    reader = csv.reader(
        (f"{line}\n" for line in lines), delimiter=delimiter, skipinitialspace=skips_blanks
    )
    rows: list[list[str]] = []
    while True:
        try:
            rows.append(next(reader))
        except StopIteration:
            return rows
        except csv.Error:
            return rows


def _split(line: str, delimiter: str, skips_blanks: bool) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter, skipinitialspace=skips_blanks))
    except (csv.Error, StopIteration):
        return line.split(delimiter)


def _is_quoted_by_tabs(lines: Sequence[str]) -> bool:
    """Return whether a tab-separated file with a header has quoted cells, as pandas writes them.

    This is also True if the lines hold no quotes, because later lines may. If quotes of a later
    record do not match, that record is read as if quotes were text.
    """
    rows = [line.split("\t") for line in lines]
    if any(len(row) != len(rows[0]) for row in rows):
        return True
    with_quotes = [cell for row in rows for cell in row if '"' in cell]
    return all(
        len(cell) > 1 and cell[0] == cell[-1] == '"' and '"' not in cell[1:-1].replace('""', "")
        for cell in with_quotes
    )


def _are_trec(lines: Sequence[str]) -> bool:
    """Return whether lines have TREC's fields: the 4 of judgments, or the 6 of a run."""
    rows = [line.split() for line in lines]
    return _most([len(row) == 4 and bool(_INTEGER.fullmatch(row[3])) for row in rows]) or _most(
        [
            len(row) == 6 and bool(_INTEGER.fullmatch(row[3]) and _NUMBER.fullmatch(row[4]))
            for row in rows
        ]
    )


def _is_id_and_words(line: str) -> bool:
    """Return whether a line is an id, a tab, and a text such as ``top 10 of 2020``."""
    id_, tab, text = line.partition("\t")
    if not tab or "\t" in text or len(id_.split()) != 1 or not text.strip():
        return False
    return not re.fullmatch(r"Q?\d+", text.split()[0], re.IGNORECASE)


def _are_ids_between_blanks(lines: Sequence[str]) -> bool:
    """Return whether lines are three ids with digits: triples, or a run with only three fields."""
    rows = [line.split() for line in lines]
    return _most([len(row) == 3 and all(map(_ID.fullmatch, row)) for row in rows])


def _most(are: Sequence[bool]) -> bool:
    """Return whether at least nine of ten values are true, or all but one of three or more.

    Some lines may be broken. Reading the file then raises an error that names the line.
    """
    n_odd = len(are) - sum(are)
    return n_odd <= 0.1 * len(are) or (n_odd == 1 and len(are) > 2)
