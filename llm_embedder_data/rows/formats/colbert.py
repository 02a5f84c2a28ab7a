"""ColBERT's files of arrays of ids: a query id, then passage ids, or passages with scores.

Each line is ``[query id, positive id, negative id, ...]``, or ``[query id, [passage id, score],
...]`` with the scores of a teacher, where nothing is known to be positive::

    [17, 482, 90, 1205]
    [17, [482, 9.3], [90, -2.1]]

A file is known by arrays whose entries all look like ids, or ids with scores. A passage id is the
number of the passage's line in the collection, from 0, if the collection has no ids.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llm_embedder_data.rows.formats.format import Format, most_are
from llm_embedder_data.rows.formats.judgments import relevant_row
from llm_embedder_data.rows.formats.parts import Parts
from llm_embedder_data.rows.formats.passage_ids import are_ids, is_id
from llm_embedder_data.rows.records.raw_files import RawFile
from llm_embedder_data.rows.schema.canonical_rows import (
    BadRowError,
    Dropped,
    Row,
    id_of,
    ids_of,
    scores_of,
    train_row,
)


def _recognizes(file: RawFile) -> bool:
    rows = file.head
    if not rows or file.container not in ("lines", "array"):
        return False
    if most_are(rows, _is_scored):
        return True
    entries = [entry for row in rows if _is_plain(row) for entry in row]
    return most_are(rows, _is_plain) and are_ids(entries)


def _is_plain(row: Any) -> bool:
    return _is_long(row) and all(isinstance(entry, int | str) for entry in row)


def _is_scored(row: Any) -> bool:
    return (
        _is_long(row)
        and is_id(row[0])
        and all(isinstance(entry, list) and len(entry) == 2 for entry in row[1:])
    )


def _is_long(row: Any) -> bool:
    return isinstance(row, list) and len(row) > 1


def _read(parts: Parts) -> Iterator[Row]:
    for record in parts.records():
        try:
            if not isinstance(record.value, list) or len(record.value) < 2:
                raise BadRowError("expected an array of a query id and document ids")
            query_id, *entries = record.value
            query_id, (_, query) = id_of(query_id, "query id"), parts.query_of(query_id)
            if any(isinstance(entry, list) for entry in entries):
                yield _scored(query, query_id, entries, parts)
                continue
            positive, *others = ids_of(entries, "document id")
            negative = [doc_id for doc_id in dict.fromkeys(others) if doc_id != positive]
            pos, neg, _ = parts.pos_and_neg_of([positive], negative)
            yield train_row(query, pos, neg, query_id=query_id)
        except (BadRowError, Dropped) as error:
            parts.leave_out(error)


def _scored(query: str, query_id: Any, entries: list[Any], parts: Parts) -> Row:
    if not all(isinstance(entry, list) and len(entry) == 2 for entry in entries):
        raise BadRowError("expected pairs of a document id and a score")
    texts, kept = parts.candidates_of(ids_of([entry[0] for entry in entries], "document id"))
    scores = scores_of(([entries[position][1] for position in kept], len(kept)))
    return train_row(
        query, candidates=texts, scores=parts.complete_scores(True, scores), query_id=query_id
    )


def _eval(parts: Parts) -> Iterator[Row]:
    for record in parts.records():
        try:
            if not isinstance(record.value, list) or len(record.value) < 2:
                raise BadRowError("expected an array of a query id and document ids")
            if isinstance(record.value[1], list):
                raise Dropped("rows of scores, which do not say what is relevant")
            query_id = record.value[0]
            _, query = parts.query_of(query_id)
            yield relevant_row(query, query_id, ids_of(record.value[1], "document id"), parts)
        except (BadRowError, Dropped) as error:
            parts.leave_out(error)


COLBERT = Format(
    name="colbert",
    what="ColBERT's arrays of a query id and document ids",
    recognizes=_recognizes,
    train=_read,
    eval=_eval,
)
