"""Judgments (query id, document id, grade), alone and joined to queries and a corpus."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.rows.canonical_rows import BadRowError, Row, eval_row, train_row
from llm_embedder_data.rows.formats.format import Parts

Judgment = tuple[str, str, float]  # query id, document id, grade
Grades = dict[str, dict[str, float]]  # query id: {document id: grade}


def grade_of(value: Any) -> float:
    """A grade: a number, or its text.

    Raises:
        BadRowError: it is no number.
    """
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int | float):
        return value
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise BadRowError(f"grade: expected a number, found {value!r}") from None
    return int(number) if number.is_integer() else number


def by_query(judgments: Iterable[Judgment], parts: Parts) -> Grades:
    """The grades of each query; of contradictory ones the highest, counted."""
    found: Grades = {}
    for query, document, grade in judgments:
        grades = found.setdefault(query, {})
        if document in grades and grades[document] != grade:
            parts.counts["contradictory grades of one query and document, the highest kept"] += 1
            grade = max(grade, grades[document])
        grades[document] = grade
    return found


def train_rows(
    grades: Grades,
    parts: Parts,
    others: Mapping[str, list[str]] | None = None,
    instructions: Mapping[str, str] | None = None,
) -> Iterator[Row]:
    """Training rows of judged queries: grades above 0 are positives, others negatives.

    Args:
        grades: by query id.
        parts: with queries and documents.
        others: further documents of each query, which are negatives where they are not judged.
        instructions: of queries, by id.
    """
    _require_common_ids(grades, parts)
    for query_id, graded in grades.items():
        found = parts.queries.get(query_id)
        if found is None:
            parts.counts["judged queries that are not in the queries"] += 1
            continue
        positive = [one for one, grade in graded.items() if grade > 0]
        negative = [one for one, grade in graded.items() if grade <= 0]
        negative += [one for one in (others or {}).get(query_id, ()) if one not in graded]
        if not positive:
            parts.counts["queries without a positive"] += 1
            continue
        try:
            pos = parts.joined(positive, "positive")
        except BadRowError as error:
            parts.counts["rows without a known positive"] += 1
            if parts.unknown_ids == parts.n_ids and len(grades) == 1:
                raise parts.error(str(error)) from error
            continue
        neg = _known(negative, parts)
        instruction = (instructions or {}).get(query_id)
        yield train_row(found[1], pos, neg, query_id=found[0], query_instruction=instruction)


def eval_rows(grades: Grades, parts: Parts) -> Iterator[Row]:
    """Eval rows of judged queries; queries without judgments are counted."""
    _require_common_ids(grades, parts)
    for query_id, (own_id, text) in parts.queries.items():
        if query_id not in grades:
            parts.counts["queries without judgments"] += 1
            continue
        yield eval_row(text, own_id, grades[query_id])
    unknown = sum(query_id not in parts.queries for query_id in grades)
    if unknown:
        parts.counts["judged queries that are not in the queries"] += unknown


def _known(ids: list[str], parts: Parts) -> list[str]:
    if not ids:
        return []
    try:
        return parts.joined(ids, "negative")
    except BadRowError:
        return []


def _require_common_ids(grades: Grades, parts: Parts) -> None:
    if grades and not any(query_id in parts.queries for query_id in grades):
        known = next(iter(parts.queries), None)
        raise DataError.at(
            parts.source,
            f"no judged query is among the queries: the judgments have ids such as "
            f"{next(iter(grades))!r}, the queries such as {known!r} (give the files that belong "
            "together)",
        )
