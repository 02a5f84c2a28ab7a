"""Tevatron's rows since version 3, which name documents by id in place of passages.

A record::

    {"query_id": "17", "query_text": "what causes tides",
     "positive_document_ids": ["482"], "negative_document_ids": ["90"]}

A file is known by ``positive_document_ids``. The query's text may be missing; it is then looked up
by the query's id. Rows with images, video or audio are not read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm_embedder_data.rows.formats.format import Format, each_record
from llm_embedder_data.rows.formats.judgments import relevant_row
from llm_embedder_data.rows.formats.parts import Parts
from llm_embedder_data.rows.records.raw_files import RawFile
from llm_embedder_data.rows.schema.canonical_rows import (
    BadRowError,
    Dropped,
    Row,
    ids_of,
    train_row,
)

_OTHER_MEDIA = ("query_image", "query_video", "query_audio", "image", "video", "audio")


def _recognizes(file: RawFile) -> bool:
    return "positive_document_ids" in file.fields


def _query(record: Mapping[str, Any], parts: Parts) -> str:
    for name in _OTHER_MEDIA:
        if record.get(name) is not None:
            raise BadRowError(f"{name}: rows of images, video or audio are not read")
    for name in ("query_text", "query"):
        if isinstance(record.get(name), str) and record[name].strip():
            return str(record[name])
    return parts.query_of(record.get("query_id"))[1]


def _train(record: Mapping[str, Any], parts: Parts) -> Row:
    positive = ids_of(record.get("positive_document_ids"), "positive_document_ids")
    negative = ids_of(record.get("negative_document_ids"), "negative_document_ids")
    query = _query(record, parts)
    if not positive:
        raise Dropped("rows without a positive")
    pos, neg, _ = parts.pos_and_neg_of(positive, negative)
    return train_row(query, pos, neg, query_id=record.get("query_id"))


def _eval(record: Mapping[str, Any], parts: Parts) -> Row:
    ids = ids_of(record.get("positive_document_ids"), "positive_document_ids")
    return relevant_row(_query(record, parts), record.get("query_id"), ids, parts)


TEVATRON_IDS = Format(
    name="tevatron_ids",
    what="Tevatron's rows of positive_document_ids",
    recognizes=_recognizes,
    train=each_record(_train),
    eval=each_record(_eval),
)
