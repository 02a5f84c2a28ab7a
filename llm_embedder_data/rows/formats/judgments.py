"""Judgments (query id, document id, grade), alone and joined to queries and a corpus."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.rows.formats.parts import Parts
from llm_embedder_data.rows.schema.canonical_rows import (
    BadRowError,
    Dropped,
    Row,
    eval_row,
    scores_of,
    shown,
    train_row,
)

Judgment = tuple[str, str, float]  # query id, document id, grade
Grades = dict[str, dict[str, float]]  # query id: {document id: grade}


def grade_of(value: Any) -> float:
    """A grade: a number, or its text.

    Raises:
        BadRowError: it is no number.
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
    """The grades of each query; of contradictory ones the highest, counted."""
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
    """An eval row of a query whose relevant documents are named by id.

    Raises:
        Dropped: it has none.
    """
    if not ids:
        raise Dropped("queries without judgments")
    return eval_row(query, query_id, parts.known(dict.fromkeys(ids, 1)))


def train_rows(
    grades: Grades,
    parts: Parts,
    run: Mapping[str, Mapping[str, float | None]] | None = None,
    instructions: Mapping[str, str] | None = None,
) -> Iterator[Row]:
    """Training rows of judged queries: grades above 0 are positives, others negatives.

    Args:
        grades: by query id.
        parts: with queries and documents.
        run: further documents of each query with their scores, best first. They are negatives where
            they are not judged positive; the scores are the row's where every candidate has one.
        instructions: of queries, by id.
    """
    _require_common_ids(grades, parts)
    for query_id, graded in grades.items():
        parts.go_to_query(query_id)
        try:
            own_id, query = parts.query_of(query_id)
            ranked = (run or {}).get(query_id, {})
            positive = [one for one, grade in graded.items() if grade > 0]
            negative = [one for one in ranked if graded.get(one, 0) <= 0]
            negative += [one for one, grade in graded.items() if grade <= 0 and one not in ranked]
            if not positive:
                raise Dropped("queries without a positive")
            pos, neg, kept = parts.sides(positive, negative)
            given = [ranked.get(one) for one in (*positive, *negative)]
            yield train_row(
                query,
                pos,
                neg,
                scores=scores_of(([given[place] for place in kept], len(kept))),
                query_id=own_id,
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
    """Eval rows of judged queries; queries without judgments are counted.

    Args:
        grades: by query id.
        parts: with queries; where it has documents, judgments of others are left out.
        candidates: ids of the documents to rerank, by query id.
        instructions: of queries, by id.
    """
    _require_common_ids(grades, parts)
    for query_id, (own_id, text) in parts.queries.items():
        if query_id not in grades:
            parts.counts["queries without judgments"] += 1
            continue
        parts.go_to_query(query_id)
        try:
            to_rerank = (candidates or {}).get(query_id)
            yield eval_row(
                text,
                own_id,
                parts.known(grades[query_id]),
                candidates=None if to_rerank is None else list(to_rerank),
                instruction=(instructions or {}).get(query_id),
            )
        except (BadRowError, Dropped) as error:
            parts.leave_out(error)
    for query_id in grades:
        parts.go_to_query(query_id)
        try:
            parts.query_of(query_id)
        except Dropped as error:
            parts.leave_out(error)


def judged_eval(parts: Parts) -> Iterator[Row]:
    """Eval rows of the judgments that are named beside a file of other rows.

    Raises:
        DataError: no judgments are named.
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
