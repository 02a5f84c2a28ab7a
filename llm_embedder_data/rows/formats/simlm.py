"""SimLM's and E5's distillation rows: positives and negatives as {doc_id: [...], score: [...]}.

A document id is a line of the corpus, as text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm_embedder_data.rows.canonical_rows import (
    BadRowError,
    Dropped,
    Row,
    ids_of,
    scores_of,
    train_row,
)
from llm_embedder_data.rows.formats.format import Format, Parts, each
from llm_embedder_data.rows.raw_files import RawFile


def _recognizes(file: RawFile) -> bool:
    positives = file.values("positives")
    return bool(positives) and all(
        isinstance(one, Mapping) and "doc_id" in one for one in positives
    )


def _side(value: Any, field: str) -> tuple[list[str], list[Any] | None]:
    if value is None:
        return [], []
    if not isinstance(value, Mapping):
        raise BadRowError(f"{field}: expected an object of doc_id and score")
    ids = ids_of(value.get("doc_id"), f"{field}.doc_id")
    scores = value.get("score")
    if scores is not None and (not isinstance(scores, list) or len(scores) != len(ids)):
        raise BadRowError(f"{field}: expected a score for each doc_id")
    return ids, scores


def _train(record: Mapping[str, Any], parts: Parts) -> Row:
    positive, positive_scores = _side(record.get("positives"), "positives")
    negative, negative_scores = _side(record.get("negatives"), "negatives")
    if not positive:
        raise Dropped("rows without a positive")
    known = parts.documents
    pos = parts.joined(positive, "positive")
    neg = parts.joined(negative, "negative") if negative else []
    scores = None
    if positive_scores is not None and negative_scores is not None:
        pairs = zip([*positive, *negative], [*positive_scores, *negative_scores], strict=True)
        kept = [score for one, score in pairs if one in known]
        scores = scores_of((kept, len(pos) + len(neg)))
    return train_row(record.get("query"), pos, neg, scores=scores, query_id=record.get("query_id"))


SIMLM = Format(
    name="simlm",
    what="SimLM's rows of positives and negatives with doc_id and score",
    recognizes=_recognizes,
    train=each(_train),
)
