"""PyLate's and other distillation rows: query_id, document_ids, scores; nothing is labelled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llm_embedder_data.rows.canonical_rows import BadRowError, Row, ids_of, scores_of, train_row
from llm_embedder_data.rows.formats.format import Format, Parts, each
from llm_embedder_data.rows.formats.hard_negatives import query_of
from llm_embedder_data.rows.raw_files import RawFile


def _recognizes(file: RawFile) -> bool:
    return {"query_id", "document_ids"} <= set(file.fields)


def listed(value: Any, field: str) -> list[Any]:
    """A list, or the JSON text of one."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise BadRowError(f"{field}: expected a list, found {value[:80]!r}") from error
    if not isinstance(value, list):
        raise BadRowError(f"{field}: expected a list, found {value!r}")
    return value


def _train(record: Mapping[str, Any], parts: Parts) -> Row:
    own_id, query = query_of(record.get("query_id"), parts)
    ids = ids_of(listed(record.get("document_ids"), "document_ids"), "document_ids")
    scores = listed(record["scores"], "scores") if record.get("scores") is not None else None
    if scores is not None and len(scores) != len(ids):
        raise BadRowError(f"{len(scores)} scores for {len(ids)} document_ids")
    known = [number for number, one in enumerate(ids) if one in parts.documents]
    texts = parts.joined(ids, "document")
    kept = None if scores is None else [scores[number] for number in known]
    return train_row(
        query,
        candidates=texts,
        scores=None if kept is None else scores_of((kept, len(texts))),
        query_id=own_id,
    )


KD_IDS = Format(
    name="kd_ids",
    what="query_id, document_ids and scores",
    recognizes=_recognizes,
    recognizes_folder=lambda folder: False,
    train=each(_train),
)


def is_folder(folder: Path) -> bool:
    """Whether a folder holds queries and documents beside the rows."""
    return any(folder.glob("documents.*")) and any(folder.glob("queries.*"))
