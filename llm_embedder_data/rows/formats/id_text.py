"""Ids and texts: a corpus, or queries.

Two cells a line (id, text), or objects of an id and a text by any of the names in use. The title
of a passage stands before its text; Anserini's ``contents`` begins with the title's line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from llm_embedder_data.rows.canonical_rows import BadRowError, Row, corpus_row, titled
from llm_embedder_data.rows.formats.format import Format, Parts
from llm_embedder_data.rows.raw_files import RawFile, RawRecord

IDS = (
    *("_id", "id", "docid", "doc_id", "document_id", "corpus_id", "corpus-id", "pid", "did"),
    *("query_id", "query-id", "qid", "q_id", "DOCUMENT_ID", "QUERY_ID", "passage_id"),
)
TEXTS = (
    *("text", "contents", "content", "document_content", "passage", "document", "body", "query"),
    *("question", "query_text", "DOCUMENT_TEXT", "QUERY_TEXT", "doc", "passage_text"),
)


def id_and_text(value: Any) -> tuple[Any, str] | None:
    """The id and the text of a record; the id is None where it has none, and all None for others."""
    if isinstance(value, list):
        if len(value) == 2:
            return value[0], titled(None, value[1])
        if len(value) == 4:  # docid, url, title, body
            return value[0], titled(value[2], value[3])
        return None
    if not isinstance(value, Mapping):
        return None
    name = next((name for name in IDS if name in value), None)
    text = next((name for name in TEXTS if isinstance(value.get(name), str)), None)
    if text is None and isinstance(value.get("title"), str):
        return (None if name is None else value[name]), titled(None, value["title"])
    if text is None:
        return None
    return (None if name is None else value[name]), titled(value.get("title"), value[text])


def _recognizes(file: RawFile) -> bool:
    if not file.head:
        return False
    if isinstance(file.head[0], list):
        return len(file.head[0]) == 2 and all(isinstance(cell, str) for cell in file.head[0])
    fields = set(file.fields)
    return bool(fields & {*TEXTS, "title"}) and all(
        name in {*IDS, *TEXTS, "title", "metadata", "url", "instruction", "lang", "language", "idx"}
        for name in fields
    )


def _where(record: RawRecord, parts: Parts) -> tuple[Any, str]:
    found = id_and_text(record.value)
    if found is None:
        raise BadRowError("expected an id and a text")
    return found


def _corpus(parts: Parts) -> Iterator[Row]:
    seen: set[str] = set()
    number = 0
    for record in parts.records():
        try:
            one, text = _where(record, parts)
            row = corpus_row(number if one is None else one, text)
            number += 1
            if row["id"] in seen:
                raise BadRowError(f"the id {row['id']!r} stands in the corpus twice")
        except BadRowError as error:
            if "empty" in str(error):  # a passage without text keeps its number
                parts.counts["passages without text"] += 1
                number += 1
                continue
            parts.leave_out(error)
            continue
        seen.add(row["id"])
        yield row


def read_texts(parts: Parts) -> Iterator[tuple[Any, str]]:
    """The ids and texts of queries."""
    for number, record in enumerate(parts.records()):
        try:
            one, text = _where(record, parts)
        except BadRowError as error:
            parts.leave_out(error)
            continue
        yield (number if one is None else one), text


ID_TEXT = Format(name="id_text", what="ids and texts", recognizes=_recognizes, corpus=_corpus)
