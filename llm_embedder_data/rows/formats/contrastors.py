"""contrastors' (Nomic's) rows: query and document, perhaps negatives and scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm_embedder_data.rows.canonical_rows import Row, scores_of, text_of, texts_of, train_row
from llm_embedder_data.rows.formats.format import Format, Parts, each
from llm_embedder_data.rows.raw_files import RawFile


def _recognizes(file: RawFile) -> bool:
    texts = file.values("query") + file.values("document")
    return {"query", "document"} <= set(file.fields) and all(isinstance(one, str) for one in texts)


def _train(record: Mapping[str, Any], parts: Parts) -> Row:
    neg = texts_of(record.get("negatives"), "negatives")
    has_scores = record.get("document_score") is not None
    scores = None
    if has_scores:
        own = ([record["document_score"]], 1)
        scores = scores_of(own, (record.get("negatives_scores"), len(neg)))
        if scores is None:
            parts.counts["rows without teacher scores, as some candidates have none"] += 1
    return train_row(
        record.get("query"), [text_of(record.get("document"), "document")], neg, scores=scores
    )


CONTRASTORS = Format(
    name="contrastors",
    what="contrastors' rows of query and document",
    recognizes=_recognizes,
    train=each(_train),
)
