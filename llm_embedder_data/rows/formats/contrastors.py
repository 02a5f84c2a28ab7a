"""Rows of contrastors, Nomic's trainer: a query, a document, and optionally negatives and scores.

A record::

    {"query": "what causes tides", "document": "Tides follow the moon.",
     "negatives": ["Rain falls from clouds."],
     "document_score": 9.1, "negatives_scores": [-3.0],
     "metadata": {"objective": {"triplet": [["query", "document", "negatives"]]}}}

A file is known by ``metadata.objective``, or by string columns ``query`` and ``document`` without
labels. The objective names the columns of query, positive and, for a ``triplet``, negatives; its
other kind is ``paired``. Without an objective the columns have the names shown above. The scores
are a teacher's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm_embedder_data.rows.formats.format import Format, each_record
from llm_embedder_data.rows.formats.parts import Parts
from llm_embedder_data.rows.records.raw_files import RawFile
from llm_embedder_data.rows.schema.canonical_rows import (
    BadRowError,
    Row,
    scores_of,
    text_of,
    texts_of,
    train_row,
)

_LABELS = {"label", "labels", "score", "scores", "similarity"}


def _recognizes(file: RawFile) -> bool:
    if any(_objective(value) is not None for value in file.head):
        return True
    texts = file.values("query") + file.values("document")
    fields = set(file.fields)
    return (
        {"query", "document"} <= fields
        and not fields & _LABELS
        and all(isinstance(text, str) for text in texts)
    )


def _objective(record: Any) -> Mapping[str, Any] | None:
    metadata = record.get("metadata") if isinstance(record, Mapping) else None
    objective = metadata.get("objective") if isinstance(metadata, Mapping) else None
    return objective if isinstance(objective, Mapping) else None


def _columns(record: Mapping[str, Any], parts: Parts) -> tuple[str, str, str | None]:
    """Return the names of the columns of query, positive and negatives; the last may be None."""
    objective = _objective(record)
    if objective is None:
        return "query", "document", "negatives"
    for name, n_columns in (("triplet", 3), ("paired", 2)):
        found = objective.get(name)
        listed = found if isinstance(found, list) else []
        for columns in listed:
            if not isinstance(columns, list) or len(columns) != n_columns:
                continue
            if all(isinstance(column, str) and column in record for column in columns):
                if len(listed) > 1:
                    parts.counts["rows of several objectives, of which the first is read"] += 1
                return columns[0], columns[1], columns[2] if n_columns == 3 else None
    raise BadRowError("metadata.objective: no pair or triplet of columns that the row has")


def _train(record: Mapping[str, Any], parts: Parts) -> Row:
    query, document, negatives = _columns(record, parts)
    pos = text_of(record.get(document), document)
    neg = [] if negatives is None else texts_of(record.get(negatives), negatives)
    score = record.get(f"{document}_score")
    negative_scores = record.get(f"{negatives}_scores")
    scores = scores_of((score, 1), (negative_scores, len(neg))) if score is not None else None
    return train_row(
        record.get(query),
        [pos],
        neg,
        scores=parts.complete_scores(score is not None or negative_scores is not None, scores),
        query_id=record.get("query_id"),
    )


CONTRASTORS = Format(
    name="contrastors",
    what="contrastors' rows of query and document",
    recognizes=_recognizes,
    train=each_record(_train),
)
