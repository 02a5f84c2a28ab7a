"""Tevatron's rows since version 3: document ids in place of passages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm_embedder_data.rows.canonical_rows import BadRowError, Dropped, Row, ids_of, train_row
from llm_embedder_data.rows.formats.format import Format, Parts, each
from llm_embedder_data.rows.raw_files import RawFile

_OTHER_MEDIA = ("query_image", "query_video", "query_audio", "image", "video", "audio")


def _recognizes(file: RawFile) -> bool:
    return "positive_document_ids" in file.fields


def _train(record: Mapping[str, Any], parts: Parts) -> Row:
    for name in _OTHER_MEDIA:
        if record.get(name) is not None:
            raise BadRowError(f"{name}: rows of images, video or audio are not read")
    query, query_id = record.get("query_text"), record.get("query_id")
    if query is None:
        if parts.texts_of_queries is None:
            raise BadRowError("query_text: the row has no query (give queries: a file of texts)")
        found = parts.queries.get(str(query_id))
        if found is None:
            raise BadRowError(f"query_id={query_id!r}: the queries do not have it")
        query = found[1]
    positive = ids_of(record.get("positive_document_ids"), "positive_document_ids")
    if not positive:
        raise Dropped("rows without a positive")
    negative = ids_of(record.get("negative_document_ids"), "negative_document_ids")
    return train_row(
        query,
        parts.joined(positive, "positive"),
        parts.joined(negative, "negative") if negative else (),
        query_id=query_id,
    )


TEVATRON_IDS = Format(
    name="tevatron_ids",
    what="Tevatron's rows of positive_document_ids",
    recognizes=_recognizes,
    train=each(_train),
)
