"""Judgments (query id, document id, grade), and the rows made from them, queries and a corpus."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.core.shown_values import shown
from llm_embedder_data.rows.formats.parts import Parts
from llm_embedder_data.rows.schema.canonical_rows import (
    BadRowError,
    Dropped,
    Row,
    eval_row,
    scores_of,
    train_row,
)

Judgment = tuple[str, str, float]  # query id, document id, grade
Grades = dict[str, dict[str, float]]  # query id: {document id: grade}


def grade_of(value: Any) -> float:
    """Return a grade as a number, an int if it is whole.

    Args:
        value: a number, a bool, or the text of a number.

    Raises:
        BadRowError: it is no number, or not finite.
    """
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int):
        return value
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise BadRowError(f"grade: expected a number, found {shown(value)}") from None
    if not math.isfinite(number):
        raise BadRowError(f"grade: expected a number, found {shown(value)}")
    return int(number) if number.is_integer() else number


def by_query(judgments: Iterable[Judgment], parts: Parts) -> Grades:
    """Return the grades of each query, in the order of the judgments.

    If a document has several grades for a query, the highest is kept and the others are counted.

    Args:
        judgments: may be the records of ``parts`` while they are read; the first record of each
            query is then remembered for messages.
        parts: the parts of the source.
    """
    found: Grades = {}
    for query, document, grade in judgments:
        parts.note_query(query)
        grades = found.setdefault(query, {})
        if document in grades and grades[document] != grade:
            parts.counts["contradictory grades of one query and document, the highest kept"] += 1
            grade = max(grade, grades[document])
        grades[document] = grade
    return found


def relevant_row(query: Any, query_id: Any, ids: Sequence[str], parts: Parts) -> Row:
    """Return an eval row of a query whose relevant documents, all of grade 1, are named by id.

    Args:
        query: the query's text.
        query_id: the query's id.
        ids: ids of the relevant documents.
        parts: the parts of the source; if it has a corpus, the documents are looked up there.

    Raises:
        BadRowError: the corpus has none of the documents, or a value has another type.
        Dropped: no document is named.
    """
    if not ids:
        raise Dropped("queries without judgments")
    return eval_row(query, query_id, parts.checked_grades(dict.fromkeys(ids, 1)))


def train_rows(
    grades: Grades,
    parts: Parts,
    run: Mapping[str, Mapping[str, float | None]] | None = None,
    instructions: Mapping[str, str] | None = None,
) -> Iterator[Row]:
    """Yield a training row for each judged query: grades above 0 are positives, others negatives.

    Args:
        grades: grades by document id, by query id.
        parts: the parts of the source, with queries and a corpus.
        run: for each query id, further documents with their scores (or None), best first. Those
            that are not judged positive are negatives. The row has teacher scores if every
            candidate has a score.
        instructions: instructions of queries, by query id.

    Raises:
        DataError: the queries have none of the judged queries, or a row is bad and bad rows are not
            skipped.
    """
    _require_common_ids(grades, parts)
    for query_id, graded in grades.items():
        parts.go_to_query(query_id)
        try:
            original_id, query = parts.query_of(query_id)
            ranked = (run or {}).get(query_id, {})
            positive = [doc_id for doc_id, grade in graded.items() if grade > 0]
            negative = [doc_id for doc_id in ranked if graded.get(doc_id, 0) <= 0]
            negative += [
                doc_id for doc_id, grade in graded.items() if grade <= 0 and doc_id not in ranked
            ]
            if not positive:
                raise Dropped("queries without a positive")
            pos, neg, kept = parts.pos_and_neg_of(positive, negative)
            given = [ranked.get(doc_id) for doc_id in (*positive, *negative)]
            yield train_row(
                query,
                pos,
                neg,
                scores=scores_of(([given[position] for position in kept], len(kept))),
                query_id=original_id,
                query_instruction=(instructions or {}).get(query_id),
            )
        except (BadRowError, Dropped) as error:
            parts.leave_out(error)


def eval_rows(
    grades: Grades,
    parts: Parts,
    candidates: Mapping[str, Iterable[str]] | None = None,
    instructions: Mapping[str, str] | None = None,
) -> Iterator[Row]:
    """Yield an eval row for each query that is judged; other queries are counted.

    Args:
        grades: grades by document id, by query id.
        parts: the parts of the source, with queries. If it has a corpus, the documents are looked
            up there; see :meth:`~llm_embedder_data.rows.formats.parts.Parts.checked_grades`.
        candidates: ids of the documents to rerank, by query id.
        instructions: instructions of queries, by query id.

    Raises:
        DataError: the queries have none of the judged queries, or a row is bad and bad rows are not
            skipped.
    """
    _require_common_ids(grades, parts)
    for query_id, (original_id, text) in parts.queries.items():
        if query_id not in grades:
            parts.counts["queries without judgments"] += 1
            continue
        parts.go_to_query(query_id)
        try:
            to_rerank = (candidates or {}).get(query_id)
            yield eval_row(
                text,
                original_id,
                parts.checked_grades(grades[query_id]),
                candidates=None if to_rerank is None else list(to_rerank),
                instruction=(instructions or {}).get(query_id),
            )
        except (BadRowError, Dropped) as error:
            parts.leave_out(error)
    for query_id in grades:  # count judgments of unknown queries
        parts.go_to_query(query_id)
        try:
            parts.query_of(query_id)
        except Dropped as error:
            parts.leave_out(error)


def judged_eval(parts: Parts) -> Iterator[Row]:
    """Yield eval rows from the judgments that the user names, for a file that holds none.

    Raises:
        DataError: no judgments are named, or as for :func:`eval_rows`.
    """
    if parts.judgments_given is None:
        raise DataError.at(
            parts.source, "it has no judgments, which eval rows are made of (give qrels: a file)"
        )
    yield from eval_rows(by_query(parts.judgments_given(), parts), parts)


def _require_common_ids(grades: Grades, parts: Parts) -> None:
    if grades and not any(query_id in parts.queries for query_id in grades):
        known = next(iter(parts.queries), None)
        raise DataError.at(
            parts.source,
            f"no judged query is among the queries: the judgments have ids such as "
            f"{next(iter(grades))!r}, the queries such as {known!r} (give the files that belong "
            "together)",
        )
