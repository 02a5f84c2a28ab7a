"""ColBERT's lines: [qid, pid, pid, ...] with the positive first, or [qid, [pid, score], ...].

A pid is a line of the collection, from 0, where the collection has no ids of its own.
"""

from __future__ import annotations

from collections.abc import Iterator

from llm_embedder_data.rows.canonical_rows import BadRowError, Row, id_of, scores_of, train_row
from llm_embedder_data.rows.formats.format import Format, Parts
from llm_embedder_data.rows.formats.hard_negatives import query_of
from llm_embedder_data.rows.raw_files import RawFile


def _is_id(value: object) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _recognizes(file: RawFile) -> bool:
    rows = [value for value in file.head if isinstance(value, list)]
    if not rows or len(rows) != len(file.head) or file.container not in ("lines", "array"):
        return False
    plain = all(len(row) > 1 and all(isinstance(one, int) for one in row) for row in rows)
    scored = all(
        len(row) > 1
        and _is_id(row[0])
        and all(isinstance(one, list) and len(one) == 2 for one in row[1:])
        for row in rows
    )
    return plain or scored


def _read(parts: Parts) -> Iterator[Row]:
    for record in parts.records():
        try:
            if not isinstance(record.value, list) or len(record.value) < 2:
                raise BadRowError("expected an array of a query id and document ids")
            query_id, *entries = record.value
            own_id, query = query_of(id_of(query_id, "query id"), parts)
            if all(isinstance(entry, list) for entry in entries):
                ids = [str(entry[0]) for entry in entries]
                kept = [
                    entry[1]
                    for entry, one in zip(entries, ids, strict=True)
                    if one in parts.documents
                ]
                texts = parts.joined(ids, "document")
                yield train_row(
                    query, candidates=texts, scores=scores_of((kept, len(texts))), query_id=own_id
                )
                continue
            ids = [str(id_of(entry, "document id")) for entry in entries]
            yield train_row(
                query,
                parts.joined(ids[:1], "positive"),
                parts.joined(ids[1:], "negative") if ids[1:] else (),
                query_id=own_id,
            )
        except BadRowError as error:
            parts.leave_out(error)


COLBERT = Format(
    name="colbert",
    what="ColBERT's arrays of a query id and document ids",
    recognizes=_recognizes,
    train=_read,
)
