"""MS MARCO's files of tabs: triples of texts, triples of ids, top1000, and documents.

Rows of one query become one row, in the order in which the queries are met.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from llm_embedder_data.rows.canonical_rows import BadRowError, Row, corpus_row, titled, train_row
from llm_embedder_data.rows.formats.format import Format, Parts
from llm_embedder_data.rows.formats.hard_negatives import query_of
from llm_embedder_data.rows.raw_files import RawFile


def cells(file: RawFile, n_cells: int) -> list[list[str]] | None:
    """The first rows of a file without header, where each has so many cells; else None."""
    rows = file.head
    if not rows or file.container not in ("cells", "fields"):
        return None
    if not all(isinstance(row, list) and len(row) == n_cells for row in rows):
        return None
    return rows


def is_id(text: str) -> bool:
    """Whether a cell is one run of signs, as ids are."""
    return bool(text) and len(text) <= 64 and not any(sign.isspace() for sign in text)


def looks_like_run(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the third cell counts 1, 2, 3... for each first cell, as the ranks of a run do."""
    count: dict[str, int] = {}
    for query, _, rank in rows:
        count[query] = count.get(query, 0) + 1
        if rank != str(count[query]):
            return False
    return True


def _is_triples(file: RawFile) -> bool:
    rows = cells(file, 3)
    return rows is not None and any(not is_id(cell) for row in rows for cell in row[1:])


def _is_id_triples(file: RawFile) -> bool:
    rows = cells(file, 3)
    return (
        rows is not None
        and all(is_id(cell) for row in rows for cell in row)
        and not looks_like_run(rows)
    )


def _triples(parts: Parts) -> Iterator[Row]:
    found: dict[str, tuple[dict[str, None], dict[str, None]]] = {}
    for record in parts.records():
        try:
            query, positive, negative = _three(record.value)
        except BadRowError as error:
            parts.leave_out(error)
            continue
        pos, neg = found.setdefault(query, ({}, {}))
        pos[positive] = None
        neg[negative] = None
    for query, (pos, neg) in found.items():
        yield train_row(query, pos, (text for text in neg if text not in pos))


def _id_triples(parts: Parts) -> Iterator[Row]:
    found: dict[str, tuple[dict[str, None], dict[str, None]]] = {}
    for record in parts.records():
        try:
            query, positive, negative = _three(record.value)
        except BadRowError as error:
            parts.leave_out(error)
            continue
        pos, neg = found.setdefault(query, ({}, {}))
        pos[positive] = None
        neg[negative] = None
    for query_id, (pos, neg) in found.items():
        try:
            own_id, query = query_of(query_id, parts)
            negative_ids = [one for one in neg if one not in pos]
            yield train_row(
                query,
                parts.joined(list(pos), "positive"),
                parts.joined(negative_ids, "negative") if negative_ids else (),
                query_id=own_id,
            )
        except BadRowError as error:
            parts.leave_out(error)


def _three(value: object) -> tuple[str, str, str]:
    if not isinstance(value, list) or len(value) != 3:
        n_cells = len(value) if isinstance(value, list) else 0
        raise BadRowError(f"expected three cells, found {n_cells}")
    if not all(cell.strip() for cell in value):
        raise BadRowError("a cell is empty")
    return value[0], value[1], value[2]


MSMARCO_TRIPLES = Format(
    name="msmarco_triples",
    what="lines of query, positive and negative",
    recognizes=_is_triples,
    train=_triples,
)
MSMARCO_ID_TRIPLES = Format(
    name="msmarco_id_triples",
    what="lines of query id, positive id and negative id",
    recognizes=_is_id_triples,
    train=_id_triples,
)


def _is_top1000(file: RawFile) -> bool:
    rows = cells(file, 4)
    return (
        rows is not None
        and all(
            is_id(row[0])
            and is_id(row[1])
            and not row[2].startswith(("http://", "https://"))
            and not is_id(row[3])
            for row in rows
        )
        and not _is_documents(file)
    )


def _top1000(parts: Parts) -> Iterator[Row]:
    found: dict[str, tuple[str, dict[str, str]]] = {}
    for record in parts.records():
        if not isinstance(record.value, list) or len(record.value) != 4:
            parts.leave_out(BadRowError("expected four cells: qid, pid, query, passage"))
            continue
        query_id, passage_id, query, passage = record.value
        found.setdefault(query_id, (query, {}))[1][passage_id] = passage
    grades: dict[str, dict[str, float]] = {}
    for query_id, document, grade in parts.judgments_given() if parts.judgments_given else ():
        grades.setdefault(query_id, {})[document] = grade
    for query_id, (query, passages) in found.items():
        if parts.judgments_given is None:
            yield train_row(query, candidates=passages.values(), query_id=query_id)
            continue
        judged = grades.get(query_id, {})
        positive = [one for one, grade in judged.items() if grade > 0]
        pos = [passages.get(one) or parts.documents.get(one) for one in positive]
        if not any(pos):
            parts.counts["queries without a positive"] += 1
            continue
        neg = [text for one, text in passages.items() if one not in positive]
        yield train_row(query, [text for text in pos if text], neg, query_id=query_id)


TOP1000 = Format(
    name="msmarco_top1000",
    what="lines of qid, pid, query and passage",
    recognizes=_is_top1000,
    train=_top1000,
)


def _is_documents(file: RawFile) -> bool:
    rows = cells(file, 4)
    return rows is not None and all(
        row[1].startswith(("http://", "https://")) or "://" in row[1] for row in rows
    )


def _documents(parts: Parts) -> Iterator[Row]:
    for record in parts.records():
        try:
            if not isinstance(record.value, list) or len(record.value) != 4:
                raise BadRowError("expected four cells: docid, url, title, body")
            yield corpus_row(record.value[0], titled(record.value[2], record.value[3]))
        except BadRowError as error:
            parts.leave_out(error)


MSMARCO_DOCUMENTS = Format(
    name="msmarco_documents",
    what="lines of docid, url, title and body",
    recognizes=_is_documents,
    corpus=_documents,
)
