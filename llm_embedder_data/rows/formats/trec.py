"""TREC's judgments (4 fields) and runs (6 fields), and ranx's of the same content.

Judgments: query, iteration or Q0, document, grade. Runs: query, Q0, document, rank, score, tag;
MS MARCO's runs have three cells: query, document, rank.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from llm_embedder_data.rows.canonical_rows import BadRowError, Row, scores_of, train_row
from llm_embedder_data.rows.formats.format import Format, Parts, Reader
from llm_embedder_data.rows.formats.hard_negatives import query_of
from llm_embedder_data.rows.formats.judgments import (
    Judgment,
    by_query,
    eval_rows,
    grade_of,
    train_rows,
)
from llm_embedder_data.rows.formats.msmarco import cells, is_id, looks_like_run
from llm_embedder_data.rows.raw_files import RawFile

_QUERY = ("query-id", "query_id", "qid", "q_id", "QUERY_ID", "query")
_DOCUMENT = (
    "corpus-id",
    "corpus_id",
    "docid",
    "doc_id",
    "document_id",
    "pid",
    "DOCUMENT_ID",
    "did",
)
_GRADE = ("score", "relevance", "label", "rel", "RELEVANCE", "grade")


def _is_integer(text: str) -> bool:
    return text.lstrip("+-").isdigit()


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_qrels(file: RawFile) -> bool:
    rows = cells(file, 4)
    if rows is not None:
        return all(_is_integer(row[3]) and is_id(row[2]) and is_id(row[0]) for row in rows)
    three = cells(file, 3)
    if three is not None:
        return False
    fields = set(file.fields)
    named = [next((n for n in names if n in fields), None) for names in (_QUERY, _DOCUMENT, _GRADE)]
    return (
        None not in named
        and "rank" not in fields
        and "text" not in fields
        and all(not isinstance(value, float) for value in file.values(named[2] or ""))
    )


def judgments_of(parts: Parts) -> Iterator[Judgment]:
    """The judgments of files of any of these layouts."""
    for record in parts.records():
        try:
            yield from _judgments(record.value)
        except BadRowError as error:
            parts.leave_out(error)


def _judgments(value: Any) -> Iterator[Judgment]:
    if isinstance(value, list):
        if len(value) == 4:
            yield value[0], value[2], grade_of(value[3])
            return
        if len(value) == 3:
            yield value[0], value[1], grade_of(value[2])
            return
        raise BadRowError(f"expected 4 fields of a judgment, found {len(value)}")
    if not isinstance(value, Mapping):
        raise BadRowError(f"expected a judgment, found {type(value).__name__}")
    found = [next((n for n in names if n in value), None) for names in (_QUERY, _DOCUMENT, _GRADE)]
    if None not in found:
        query, document, grade = (value[name or ""] for name in found)
        yield str(query), str(document), grade_of(grade)
        return
    for query, grades in value.items():
        if not isinstance(grades, Mapping):
            raise BadRowError("expected {query id: {document id: grade}}")
        for document, grade in grades.items():
            yield str(query), str(document), grade_of(grade)


def _train_of_judgments(parts: Parts) -> Iterator[Row]:
    return train_rows(by_query(judgments_of(parts), parts), parts)


def _eval_of_judgments(parts: Parts) -> Iterator[Row]:
    return eval_rows(by_query(judgments_of(parts), parts), parts)


TREC_QRELS = Format(
    name="trec_qrels",
    what="judgments (query, document, grade)",
    recognizes=_is_qrels,
    train=_train_of_judgments,
    eval=_eval_of_judgments,
)

Runs = dict[str, dict[str, float | None]]  # query id: {document id: score}, best first


def run_of(parts: Parts) -> Runs:
    """The documents of each query with their scores, the best first; None where a run has none."""
    found: dict[str, list[tuple[float, float | None, str]]] = {}
    for record in parts.records():
        try:
            for query, document, rank, score in _ranked(record.value):
                found.setdefault(query, []).append((rank, score, document))
        except BadRowError as error:
            parts.leave_out(error)
    return {
        query: {document: score for _, score, document in sorted(ranked, key=lambda one: one[0])}
        for query, ranked in found.items()
    }


def _ranked(value: Any) -> Iterator[tuple[str, str, float, float | None]]:
    if isinstance(value, list):
        if len(value) == 6 and _is_number(value[4]):
            yield value[0], value[2], -float(value[4]), float(value[4])
            return
        if len(value) == 3 and _is_integer(value[2]):
            yield value[0], value[1], float(value[2]), None
            return
        raise BadRowError(f"expected 6 fields of a run, found {len(value)}")
    if not isinstance(value, Mapping):
        raise BadRowError(f"expected a line of a run, found {type(value).__name__}")
    query = next((n for n in _QUERY if n in value), None)
    document = next((n for n in _DOCUMENT if n in value), None)
    if query and document and isinstance(value.get("score"), int | float):
        score = float(value["score"])
        yield str(value[query]), str(value[document]), -score, score
        return
    for name, documents in value.items():
        if not isinstance(documents, Mapping):
            raise BadRowError("expected {query id: {document id: score}}")
        for one, score in documents.items():
            yield str(name), str(one), -float(score), float(score)


def _is_run(file: RawFile) -> bool:
    rows = cells(file, 6)
    if rows is not None:
        return all(_is_integer(row[3]) and _is_number(row[4]) for row in rows)
    three = cells(file, 3)
    return (
        three is not None
        and all(is_id(cell) for row in three for cell in row)
        and (looks_like_run(three))
    )


def _train_of_run(parts: Parts) -> Iterator[Row]:
    runs = run_of(parts)
    if parts.judgments_given is not None:
        grades = by_query(parts.judgments_given(), parts)
        yield from train_rows(grades, parts, {query: list(run) for query, run in runs.items()})
        return
    for query_id, run in runs.items():
        try:
            own_id, query = query_of(query_id, parts)
            known = [score for one, score in run.items() if one in parts.documents]
            texts = parts.joined(list(run), "document")
            scores = scores_of((known, len(texts)))
            yield train_row(query, candidates=texts, scores=scores, query_id=own_id)
        except BadRowError as error:
            parts.leave_out(error)


TREC_RUN = Format(
    name="trec_run",
    what="a run (query, document, rank, score)",
    recognizes=_is_run,
    train=_train_of_run,
)


def _nested(file: RawFile) -> list[Any] | None:
    """The numbers of {query: {document: number}}; None for another shape."""
    if len(file.head) != 1 or not isinstance(file.head[0], Mapping) or not file.head[0]:
        return None
    inner = list(file.head[0].values())
    if not all(isinstance(one, Mapping) and one for one in inner):
        return None
    numbers = [number for one in inner for number in one.values()]
    is_plain = all(isinstance(one, int | float) and not isinstance(one, bool) for one in numbers)
    return numbers if is_plain else None


def _table(file: RawFile) -> list[Any] | None:
    if set(file.fields) == {"q_id", "doc_id", "score"}:
        return file.values("score")
    return None


def _is_ranx(file: RawFile, of_floats: bool) -> bool:
    numbers = _nested(file) or _table(file)
    return numbers is not None and any(isinstance(one, float) for one in numbers) == of_floats


def refused_without_format(reader: Reader) -> Reader:
    """A reader that refuses files of whole numbers, which may be judgments or a run."""

    def read(parts: Parts) -> Iterator[Row]:
        return reader(parts)

    return read


RANX_QRELS = Format(
    name="ranx_qrels",
    what="ranx's judgments {query: {document: grade}}",
    recognizes=lambda file: _is_ranx(file, of_floats=False),
    train=_train_of_judgments,
    eval=_eval_of_judgments,
)
RANX_RUN = Format(
    name="ranx_run",
    what="ranx's run {query: {document: score}}",
    recognizes=lambda file: _is_ranx(file, of_floats=True),
    train=_train_of_run,
)
