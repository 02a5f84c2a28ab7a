"""A query with a list of documents and a list of their labels, as CrossEncoder training has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm_embedder_data.rows.canonical_rows import (
    BadRowError,
    Dropped,
    Row,
    scores_of,
    texts_of,
    train_row,
)
from llm_embedder_data.rows.formats.format import Format, Parts, each
from llm_embedder_data.rows.raw_files import RawFile

_DOCUMENTS = ("docs", "documents", "passages", "candidates", "texts")
_LABELS = ("labels", "label")
_SCORES = ("scores", "score")


def _name(record: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    return next((name for name in names if isinstance(record.get(name), list)), None)


def _recognizes(file: RawFile) -> bool:
    records = [value for value in file.head if isinstance(value, Mapping)]
    return bool(records) and all(
        isinstance(record.get("query", record.get("question")), str)
        and _name(record, _DOCUMENTS) is not None
        and _name(record, (*_LABELS, *_SCORES)) is not None
        for record in records
    )


def _train(record: Mapping[str, Any], parts: Parts) -> Row:
    documents, labels = _name(record, _DOCUMENTS), _name(record, _LABELS)
    if documents is None:
        raise BadRowError("docs: expected a list of strings")
    texts = texts_of(record[documents], documents)
    query, query_id = record.get("query", record.get("question")), record.get("query_id")
    values = record[labels] if labels else record[_name(record, _SCORES) or "scores"]
    if len(values) != len(texts):
        raise BadRowError(f"{len(values)} labels for {len(texts)} documents")
    threshold = parts.options.threshold
    is_label = threshold is not None or all(value in (0, 1) for value in values)
    if not is_label:
        scores = scores_of((values, len(texts)))
        return train_row(query, candidates=texts, scores=scores, query_id=query_id)
    least = 1 if threshold is None else threshold
    pos = [text for text, value in zip(texts, values, strict=True) if value >= least]
    neg = [text for text, value in zip(texts, values, strict=True) if value < least]
    if not pos:
        raise Dropped("rows without a positive")
    return train_row(query, pos, neg, query_id=query_id)


LABELED_LIST = Format(
    name="labeled_list",
    what="a query with docs and labels",
    recognizes=_recognizes,
    train=each(_train),
)
