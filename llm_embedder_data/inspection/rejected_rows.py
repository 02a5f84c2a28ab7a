"""The rows of a dataset that were rejected: where they are, why, and what they contain.

A row is rejected for what it contains, such as a missing text. Rows that a setting leaves out, such
as a limit on their number, are not rejected.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from llm_embedder_data.core.files import atomic_file
from llm_embedder_data.core.printable import one_line
from llm_embedder_data.inspection.locations import located
from llm_embedder_data.rows.corpora import Corpus
from llm_embedder_data.rows.eval_sets import EvalSet
from llm_embedder_data.rows.faults.row_locations import locations_of
from llm_embedder_data.rows.files.lines import beginnings_of_lines
from llm_embedder_data.rows.records.rejected_records import (
    MOST_CHARACTERS,
    MOST_REJECTED,
    RejectedRecord,
    RejectedRecords,
    excerpt,
)
from llm_embedder_data.rows.schema.corpus import corpus_column
from llm_embedder_data.rows.selection.filters import REASONS_OF_SETTINGS
from llm_embedder_data.rows.train_set import TrainSet

# What is wrong with rows that are valid by themselves, by the reason for which they are dropped.
_SENTENCES = {
    "no_positive": "no positive (give a pos; or teacher_scores and select_positive=teacher)",
    "documents unknown": "no document of the row is in the corpus",
}

# Columns of cached rows whose values are the file's; the others are computed from them.
_CONTENT = ("query", "key", "teacher_scores", "query_id_int", "query_id_str", "task", "pos_index")


class RejectedRows(NamedTuple):
    """The rejected rows of a dataset.

    Attributes:
        first: the first rejected rows, at most :data:`MOST_REJECTED`, in the order of their files.
        n_rows: number of all rejected rows.
    """

    first: list[RejectedRecord]
    n_rows: int


def n_rejected(dataset: TrainSet | EvalSet | Corpus) -> int:
    """Return the number of a dataset's rejected rows, without reading a file."""
    numbered = sum(map(len, _numbers(dataset).values()))
    return numbered + sum(file.n_records for file in dataset.rejected)


def rejected_rows(dataset: TrainSet | EvalSet | Corpus) -> RejectedRows:
    """Return the rejected rows of a dataset.

    If the cache lacks the content of a row, the row's line is read from its file again.
    """
    found = [record for file in dataset.rejected for record in file.records()]
    for reason, numbers in _numbers(dataset).items():
        found += _numbered(dataset, reason, numbers[:MOST_REJECTED].tolist())
    return RejectedRows(_in_order(found, dataset.files), n_rejected(dataset))


def rejected_of(records: RejectedRecords) -> RejectedRows:
    """Return the records that were gathered while rows were read."""
    return RejectedRows(_in_order(records.first), records.n_records)


def write_rejected_rows(path: Path, rejected: Mapping[str, RejectedRows]) -> int:
    """Write rejected rows as a file of JSON Lines, which appears complete or not at all.

    A line has ``dataset``, ``file``, ``row`` (from 0), ``line`` (from 1), ``reason``, ``field`` and
    ``value``. If not all rejected rows of a dataset are listed, its last line has ``dataset`` and
    ``more``, the number of further rows.

    Args:
        path: the file to write; its folder is made if needed.
        rejected: rejected rows by dataset.

    Returns:
        The number of rows that were written.

    Raises:
        OSError: the folder cannot be made, or the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
        for name, rows in rejected.items():
            for record in rows.first:
                file.write(_json_line({"dataset": name, **_as_dict(record)}))
            if (more := rows.n_rows - len(rows.first)) > 0:
                file.write(_json_line({"dataset": name, "more": more}))
    return sum(len(rows.first) for rows in rejected.values())


# --------------------------------------------------------------------------------------------------


def _numbers(dataset: TrainSet | EvalSet | Corpus) -> dict[str, Any]:
    """Return the numbers of the rows that are dropped for what they contain, by reason."""
    return {
        reason: numbers
        for reason, numbers in dataset.dropped_rows.items()
        if reason not in REASONS_OF_SETTINGS
    }


def _numbered(
    dataset: TrainSet | EvalSet | Corpus, reason: str, numbers: list[int]
) -> list[RejectedRecord]:
    if not numbers:
        return []
    places = located(dataset, numbers)
    sentences = [_SENTENCES.get(reason, reason)] * len(numbers)
    if reason == "bad_row":
        fault = _table(dataset).column("fault")
        sentences = [str(fault[number]) for number in numbers]
    # Native rows are read column by column, which may leave out the very value that is wrong. So
    # their content is shown as their line in the file.
    are_lines = locations_of(_rows(dataset)) is None
    return [
        RejectedRecord(
            at.file,
            at.record,
            at.line,
            excerpt(sentence),
            None if are_lines and at.line is not None else excerpt(_columns(dataset, number)),
        )
        for at, sentence, number in zip(places, sentences, numbers, strict=True)
    ]


def _in_order(records: list[RejectedRecord], files: Sequence[str] = ()) -> list[RejectedRecord]:
    """Return the first records in the order of their files: ``files`` first, then others."""
    order: dict[str, int] = {}
    for file in [*files, *(record.file for record in records)]:
        order.setdefault(file, len(order))
    in_order = sorted(records, key=lambda record: (order[record.file], record.row or 0))
    return _with_lines(in_order[:MOST_REJECTED])


def _with_lines(records: list[RejectedRecord]) -> list[RejectedRecord]:
    """Return records; those without content get the beginning of their line as content."""
    wanted: dict[str, list[int]] = {}
    for record in records:
        if record.value is None and record.line is not None:
            wanted.setdefault(record.file, []).append(record.line)
    found: dict[tuple[str, int | None], str] = {}
    for file, lines in wanted.items():
        with suppress(OSError, EOFError):  # the file was moved or deleted
            for line, content in beginnings_of_lines(file, lines, 4 * MOST_CHARACTERS).items():
                found[file, line] = excerpt(content)
    return [
        RejectedRecord(at.file, at.row, at.line, at.reason, found.get((at.file, at.line)))
        if at.value is None
        else at
        for at in records
    ]


def _columns(dataset: TrainSet | EvalSet | Corpus, number: int) -> dict[str, Any]:
    table = _table(dataset)
    names = dict(zip(_CONTENT, _CONTENT, strict=True))
    if isinstance(dataset, Corpus):
        names = {corpus_column(i): field for i, field in enumerate(dataset.fields)}
        names |= {"id_int": "id", "id_str": "id"}
    elif isinstance(dataset, TrainSet) and dataset.passages is not None:
        del names["key"]  # numbers of passages
    values = {names[n]: table.column(n)[number].as_py() for n in names if n in table.column_names}
    return {name: value for name, value in values.items() if value is not None}


def _rows(dataset: TrainSet | EvalSet | Corpus) -> Any:
    # A corpus has its ids, faults and locations in another table than its texts.
    if isinstance(dataset, Corpus) and dataset.id_rows is not None:
        return dataset.id_rows
    return dataset.rows


def _table(dataset: TrainSet | EvalSet | Corpus) -> Any:
    return _rows(dataset).data.table


def _as_dict(record: RejectedRecord) -> dict[str, Any]:
    return {
        "file": record.file,
        "row": record.row,
        "line": record.line,
        "reason": record.reason,
        "field": record.field,
        "value": record.value,
    }


def _json_line(content: Mapping[str, Any]) -> bytes:
    text = json.dumps(content, ensure_ascii=False)
    if one_line(text) != text:  # the name of a file may have line separators, which JSON escapes
        text = json.dumps(content)
    return f"{text}\n".encode()
