"""TREC's judgments (qrels) and runs, and other projects' files with the same content.

A line of judgments (query, iteration, document, grade) and of a run (query, Q0, document, rank,
score, tag)::

    q1 0 d482 2
    q1 Q0 d482 1 9.1 bm25

Both are known by the number of fields. BEIR's judgments have three cells: query, document, grade.
Runs of three cells have query, document, and a rank (MS MARCO's) or a score, which is a number with
a decimal point or an exponent. Tables and objects are known by the names of their columns.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.core.shown_values import shown
from llm_embedder_data.rows.formats.format import Format, most_are
from llm_embedder_data.rows.formats.judgments import (
    Grades,
    Judgment,
    by_query,
    eval_rows,
    grade_of,
    train_rows,
)
from llm_embedder_data.rows.formats.msmarco import cells, looks_like_run, names_each_once, three_ids
from llm_embedder_data.rows.formats.parts import Parts
from llm_embedder_data.rows.records.raw_files import RawFile
from llm_embedder_data.rows.schema.canonical_rows import (
    BadRowError,
    Dropped,
    Row,
    document_id,
    scores_of,
    train_row,
)

_QUERY = ("query-id", "query_id", "qid", "q_id", "QUERY_ID")
_DOCUMENT = (
    *("corpus-id", "corpus_id", "docid", "doc_id", "document_id", "pid", "DOCUMENT_ID", "did"),
    "docno",
)
_GRADE = ("score", "relevance", "label", "rel", "RELEVANCE", "grade")


def _is_integer(text: Any) -> bool:
    digits = text.strip().lstrip("+-") if isinstance(text, str) else ""
    return digits.isascii() and digits.isdigit()


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return None if math.isnan(number) else number


def is_whole(value: Any) -> bool:
    """Return whether a value is a whole number, or the text of a whole number."""
    number = _number(value)
    return number is not None and number.is_integer()


def _columns(fields: Any) -> tuple[str, str, str] | None:
    """Return the columns of query, document, and grade or score; None if one is missing."""
    query, document, grade = (
        next((name for name in names if name in fields), None)
        for names in (_QUERY, _DOCUMENT, _GRADE)
    )
    if query is None or document is None or grade is None:
        return None
    return query, document, grade


def _is_qrels(file: RawFile) -> bool:
    rows = cells(file, 4)
    if rows is not None:
        # A number with a fraction is a margin: of these some may be whole, but a grade never.
        return most_are(
            rows, lambda row: _is_integer(row[3]) and not _has_blank(row[0] + row[2])
        ) and not any(_number(row[3]) is not None and not _is_integer(row[3]) for row in rows)
    three = three_ids(file)
    if three is not None:
        return _are_three_cell_qrels(file, three)
    columns = _columns(file.fields)
    if columns is None or {"rank", "text"} & set(file.fields):
        return False
    query, _, grade = columns
    return "-" in query or all(map(is_whole, file.values(grade)))  # "query-id" is BEIR's


def _has_blank(text: str) -> bool:
    return any(character.isspace() for character in text.strip())


def _are_three_cell_qrels(file: RawFile, rows: list[list[str]]) -> bool:
    """Return whether third cells are grades, by the name of the file or folder, or by the ids."""
    grades = [row[2].strip() for row in rows]
    if not all(_is_integer(grade) and len(grade.lstrip("+-")) <= 2 for grade in grades):
        return False
    if "qrels" in file.name.lower() or "qrels" in Path(file.path).parent.name.lower():
        return True
    ids_differ = not any(_is_integer(row[1]) for row in rows)
    return ids_differ and not looks_like_run(rows) and names_each_once(rows)


def may_be_qrels_or_run(file: RawFile) -> bool:
    """Return whether lines of three cells may be either judgments or a run.

    They may if the last cell is always 1: a grade of 1, or the rank of a query's only document.
    """
    rows = three_ids(file)
    if rows is None or _is_qrels(file):
        return False
    return all(row[2].strip() == "1" for row in rows)


def judgments_of(parts: Parts) -> Iterator[Judgment]:
    """Yield the judgments of files of any of these shapes.

    Raises:
        DataError: a record is no judgment, and bad rows are not skipped.
    """
    for record in parts.records():
        try:
            yield from _judgments(record.value)
        except BadRowError as error:
            parts.leave_out(error)


def grades_of_folder(parts: Parts) -> Grades:
    """Return the grades of each query: those that the user names, otherwise those of the folder."""
    given = parts.judgments_given
    if given is None:
        _require_records(parts)
    return by_query(judgments_of(parts) if given is None else given(), parts)


def _require_records(parts: Parts) -> None:
    """Refuse a split whose files hold no judgment, perhaps a header alone.

    Raises:
        DataError: naming the first file.
    """
    if parts.files and not any(file.head for file in parts.files):
        raise DataError.at(
            parts.files[0].path, "the file holds no judgment (fill it, or read another split)"
        )


def _judgments(value: Any) -> Iterator[Judgment]:
    if isinstance(value, list):
        if len(value) not in (3, 4):
            raise BadRowError(f"expected 3 or 4 fields of a judgment, found {len(value)}")
        yield _judgment(value[0], value[-2], value[-1])
        return
    if not isinstance(value, Mapping):
        raise BadRowError(f"expected a judgment, found {shown(value)}")
    columns = _columns(value)
    if columns is not None:
        yield _judgment(*(value[name] for name in columns))
        return
    for query, grades in value.items():
        if not isinstance(grades, Mapping):
            raise BadRowError("expected {query id: {document id: grade}}")
        for document, grade in grades.items():
            yield _judgment(query, document, grade)


def _judgment(query: Any, document: Any, grade: Any) -> Judgment:
    return document_id(query, "query id"), document_id(document, "document id"), grade_of(grade)


def train_of_judgments(parts: Parts) -> Iterator[Row]:
    """Yield training rows of a file of judgments, joined to queries and a corpus."""
    return train_rows(by_query(judgments_of(parts), parts), parts)


def eval_of_judgments(parts: Parts) -> Iterator[Row]:
    """Yield eval rows of a file of judgments, joined to queries."""
    return eval_rows(by_query(judgments_of(parts), parts), parts)


TREC_QRELS = Format(
    name="trec_qrels",
    what="judgments (query, document, grade)",
    recognizes=_is_qrels,
    train=train_of_judgments,
    eval=eval_of_judgments,
)

_REPEATED = "lines of a run that repeat a document of the query, the best line kept"
Runs = dict[str, dict[str, float | None]]  # {query id: {document id: score}}, best first


def run_of(parts: Parts) -> Runs:
    """Return the documents of each query with their scores, best first.

    A score is None if the run has only ranks. If a run lists a document several times for a query,
    the best of these lines is kept, with its score, and the others are counted.

    Raises:
        DataError: a record is no line of a run, and bad rows are not skipped.
    """
    found: dict[str, list[tuple[float, float | None, str]]] = {}
    for record in parts.records():
        try:
            for query, document, rank, score in _ranked(record.value):
                found.setdefault(query, []).append((rank, score, document))
        except BadRowError as error:
            parts.leave_out(error)
    runs: Runs = {}
    for query, ranked in found.items():
        run = runs[query] = {}
        for _, score, document in sorted(ranked, key=itemgetter(0)):
            run.setdefault(document, score)
        if len(run) < len(ranked):
            parts.counts[_REPEATED] += len(ranked) - len(run)
    return runs


def _ranked(value: Any) -> Iterator[tuple[str, str, float, float | None]]:
    """Yield (query id, document id, sort key, score) for each entry of a record.

    The sort key is the rank or the negated score, so that the best document sorts first.
    """
    if isinstance(value, list):
        if len(value) == 6:
            yield _scored(value[0], value[2], value[4])
        elif len(value) == 3 and _is_integer(value[2]):
            query, document = (
                document_id(cell, name) for cell, name in zip(value[:2], _NAMES, strict=True)
            )
            yield query, document, float(_number(value[2]) or 0), None
        elif len(value) == 3:
            yield _scored(*value)
        else:
            raise BadRowError(f"expected 6 fields of a run, found {len(value)}")
        return
    if not isinstance(value, Mapping):
        raise BadRowError(f"expected a line of a run, found {shown(value)}")
    columns = _columns(value)
    if columns is not None:
        yield _scored(*(value[name] for name in columns))
        return
    for query, documents in value.items():
        if not isinstance(documents, Mapping):
            raise BadRowError("expected {query id: {document id: score}}")
        for document, score in documents.items():
            yield _scored(query, document, score)


_NAMES = ("query id", "document id")


def _scored(query: Any, document: Any, score: Any) -> tuple[str, str, float, float]:
    number = _number(score)
    if number is None:
        raise BadRowError(f"score: expected a number, found {shown(score)}")
    return document_id(query, _NAMES[0]), document_id(document, _NAMES[1]), -number, number


def _is_run(file: RawFile) -> bool:
    rows = cells(file, 6)
    if rows is not None:
        return most_are(rows, lambda row: _is_integer(row[3]) and _number(row[4]) is not None)
    three = three_ids(file)
    if three is not None:
        return looks_like_run(three)
    columns = _columns(file.fields)
    return columns is not None and columns[2] == "score" and "text" not in file.fields


def train_of_run(parts: Parts) -> Iterator[Row]:
    """Yield training rows of a run, joined to queries and a corpus.

    With judgments, rows have positives and negatives; without, they have unlabelled candidates.
    """
    runs = run_of(parts)
    if parts.judgments_given is not None:
        grades = by_query(parts.judgments_given(), parts)
        yield from train_rows(grades, parts, runs)
        return
    for query_id, run in runs.items():
        try:
            original_id, query = parts.query_of(query_id)
            texts, kept = parts.candidates_of(list(run))
            given = list(run.values())
            scores = scores_of(([given[position] for position in kept], len(kept)))
            yield train_row(query, candidates=texts, scores=scores, query_id=original_id)
        except (BadRowError, Dropped) as error:
            parts.leave_out(error)


def eval_of_run(parts: Parts) -> Iterator[Row]:
    """Yield eval rows whose candidates, to be reranked, are the documents of the run.

    Raises:
        DataError: the user names no judgments.
    """
    if parts.judgments_given is None:
        raise parts.error(
            "a run does not say what is relevant, and eval rows do (give qrels: a file of "
            "judgments)"
        )
    grades = by_query(parts.judgments_given(), parts)
    yield from eval_rows(grades, parts, run_of(parts))


TREC_RUN = Format(
    name="trec_run",
    what="a run (query, document, rank, score)",
    recognizes=_is_run,
    train=train_of_run,
    eval=eval_of_run,
)
