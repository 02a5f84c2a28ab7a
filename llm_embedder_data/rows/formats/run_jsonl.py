"""Lightning IR's runs with texts: a record for each document that was retrieved for a query.

A record::

    {"query_id": "q1", "query": "what causes tides", "doc_id": "d1",
     "text": "Tides follow the moon.", "rank": 1, "score": 9.1, "relevance": 1}

A file is known by these columns; ``score`` and ``relevance`` are optional. The records of a query
become one row, ordered by rank. A document is positive if its relevance (or its grade in the
judgments that the user names) is above 0. If no document of a query has a grade, all are unlabelled
candidates. The scores are teacher scores.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from llm_embedder_data.core.shown_values import shown
from llm_embedder_data.rows.formats.format import Format
from llm_embedder_data.rows.formats.judgments import by_query, grade_of
from llm_embedder_data.rows.formats.parts import Parts
from llm_embedder_data.rows.records.raw_files import RawFile
from llm_embedder_data.rows.schema.canonical_rows import (
    BadRowError,
    Dropped,
    Row,
    document_id,
    eval_row,
    scores_of,
    text_of,
    titled,
    train_row,
)
from llm_embedder_data.rows.schema.identified_texts import with_id


@dataclass(frozen=True, slots=True)
class _Document:
    """A document of a run; its grade is None if it is not judged."""

    id: str
    text: str
    rank: float
    score: Any
    grade: float | None


@dataclass(frozen=True, slots=True)
class _Ranked:
    """A query and its documents, best first once all records are read."""

    query: str
    query_id: Any
    documents: list[_Document]


def _recognizes(file: RawFile) -> bool:
    return {"query_id", "query", "doc_id", "text", "rank"} <= set(file.fields)


def _score_of(value: Any) -> Any:
    """The score of a document, as it is.

    Raises:
        BadRowError: it is no number.
    """
    if value is not None:
        scores_of(([value], 1))
    return value


def _groups(parts: Parts) -> list[_Ranked]:
    """Return each query with its documents, best first; queries in the order of the file."""
    judged = None
    if parts.judgments_given is not None:
        judged = by_query(parts.judgments_given(), parts)
    groups: dict[str, _Ranked] = {}
    for record in parts.records():
        try:
            if not isinstance(record.value, Mapping):
                raise BadRowError(f"expected an object, found {shown(record.value)}")
            value = parts.watched(record)
            query_id = document_id(value.get("query_id"), "query_id")
            document = document_id(value.get("doc_id"), "doc_id")
            grade = value.get("relevance")
            if judged is not None:
                grade = judged.get(query_id, {}).get(document)
            text = titled(value.get("title"), value.get("text"))
            found = _Document(
                document,
                with_id(text, document) if parts.keeps_ids else text,
                grade_of(value.get("rank") or 0),
                _score_of(value.get("score")),
                None if grade is None else grade_of(grade),
            )
            query = text_of(value.get("query"), "query")
        except BadRowError as error:
            parts.leave_out(error)
            continue
        parts.note_query(query_id)
        groups.setdefault(query_id, _Ranked(query, value["query_id"], [])).documents.append(found)
    for ranked in groups.values():
        ranked.documents.sort(key=lambda document: document.rank)
    return list(groups.values())


def _train(parts: Parts) -> Iterator[Row]:
    for ranked in _groups(parts):
        parts.go_to_query(str(ranked.query_id))
        try:
            yield _row(ranked, parts)
        except (BadRowError, Dropped) as error:
            parts.leave_out(error)


def _row(ranked: _Ranked, parts: Parts) -> Row:
    documents = ranked.documents
    if all(document.grade is None for document in documents):
        return train_row(
            ranked.query,
            candidates=[document.text for document in documents],
            scores=_scores(documents, parts),
            query_id=ranked.query_id,
        )
    pos = [document for document in documents if (document.grade or 0) > 0]
    neg = [document for document in documents if (document.grade or 0) <= 0]
    if not pos:
        raise Dropped("queries without a positive")
    return train_row(
        ranked.query,
        [document.text for document in pos],
        [document.text for document in neg],
        scores=_scores([*pos, *neg], parts),
        query_id=ranked.query_id,
    )


def _scores(documents: list[_Document], parts: Parts) -> list[float] | None:
    given = [document.score for document in documents]
    if all(score is None for score in given):
        return None
    return parts.complete_scores(True, scores_of((given, len(given))))


def _eval(parts: Parts) -> Iterator[Row]:
    for ranked in _groups(parts):
        grades = {
            document.id: document.grade
            for document in ranked.documents
            if document.grade is not None
        }
        if not grades:
            parts.counts["queries without judgments"] += 1
            continue
        parts.go_to_query(str(ranked.query_id))
        try:
            yield eval_row(ranked.query, ranked.query_id, parts.checked_grades(grades))
        except (BadRowError, Dropped) as error:
            parts.leave_out(error)


RUN_JSONL = Format(
    name="run_jsonl",
    what="a run with its texts",
    recognizes=_recognizes,
    train=_train,
    eval=_eval,
)
