"""PyLate's and other distillation rows: query_id, document_ids, scores; nothing is labelled.

Lists may stand in a text, as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from llm_embedder_data.rows.formats.format import Format, each
from llm_embedder_data.rows.formats.parts import Parts
from llm_embedder_data.rows.records.raw_files import RawFile
from llm_embedder_data.rows.schema.canonical_rows import (
    BadRowError,
    Dropped,
    Row,
    ids_of,
    scores_of,
    shown,
    train_row,
)


def _recognizes(file: RawFile) -> bool:
    return {"query_id", "document_ids"} <= set(file.fields)


def _listed(value: Any, field: str) -> list[Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise BadRowError(f"{field}: expected a list, found {shown(value)}") from error
    if not isinstance(value, list):
        raise BadRowError(f"{field}: expected a list, found {shown(value)}")
    return value


def _train(record: Mapping[str, Any], parts: Parts) -> Row:
    own_id, query = record.get("query_id"), record.get("query")
    if not isinstance(query, str):
        _, query = parts.query_of(own_id)
    ids = ids_of(_listed(record.get("document_ids"), "document_ids"), "document_ids")
    if not ids:
        raise Dropped("rows without candidates")
    scores = _listed(record["scores"], "scores") if record.get("scores") is not None else None
    if scores is not None and len(scores) != len(ids):
        raise BadRowError(f"scores: {len(scores)} scores for {len(ids)} document_ids")
    texts, kept = parts.joined(ids)
    given = None if scores is None else [scores[place] for place in kept]
    return train_row(
        query,
        candidates=texts,
        scores=parts.without_scores(given, scores_of((given, len(texts)))),
        query_id=own_id,
    )


KD_IDS = Format(
    name="kd_ids",
    what="query_id, document_ids and scores",
    recognizes=_recognizes,
    train=each(_train),
)
