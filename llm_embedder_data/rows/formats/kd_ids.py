"""Distillation rows of PyLate and others: the ids of a query and of documents, and their scores.

A record::

    {"query_id": 17, "document_ids": [482, 90], "scores": [9.1, -3.0]}

A file is known by ``query_id`` and ``document_ids``. The scores are a teacher's; no document is
labelled as positive. ``query`` may hold the query's text. A list may be given as JSON text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from llm_embedder_data.core.shown_values import shown
from llm_embedder_data.rows.formats.format import Format, each_record
from llm_embedder_data.rows.formats.parts import Parts
from llm_embedder_data.rows.records.raw_files import RawFile
from llm_embedder_data.rows.schema.canonical_rows import (
    BadRowError,
    Dropped,
    Row,
    ids_of,
    scores_of,
    train_row,
)


def _recognizes(file: RawFile) -> bool:
    return {"query_id", "document_ids"} <= set(file.fields)


def _listed(value: Any, field: str) -> list[Any]:
    """Return a list, or the list that a text holds as JSON."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise BadRowError(f"{field}: expected a list, found {shown(value)}") from error
    if not isinstance(value, list):
        raise BadRowError(f"{field}: expected a list, found {shown(value)}")
    return value


def _train(record: Mapping[str, Any], parts: Parts) -> Row:
    query_id, query = record.get("query_id"), record.get("query")
    if not isinstance(query, str):
        _, query = parts.query_of(query_id)
    ids = ids_of(_listed(record.get("document_ids"), "document_ids"), "document_ids")
    if not ids:
        raise Dropped("rows without candidates")
    scores = _listed(record["scores"], "scores") if record.get("scores") is not None else None
    if scores is not None and len(scores) != len(ids):
        raise BadRowError(f"scores: {len(scores)} scores for {len(ids)} document_ids")
    texts, kept = parts.candidates_of(ids)
    given = None if scores is None else [scores[position] for position in kept]
    return train_row(
        query,
        candidates=texts,
        scores=parts.complete_scores(given, scores_of((given, len(texts)))),
        query_id=query_id,
    )


KD_IDS = Format(
    name="kd_ids",
    what="query_id, document_ids and scores",
    recognizes=_recognizes,
    train=each_record(_train),
)
