"""LLM-Embedder's rows, which are this package's own: query with pos and neg, or history."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm_embedder_data.rows.canonical_rows import Row, scores_of, texts_of, train_row
from llm_embedder_data.rows.formats.format import Format, Parts, each
from llm_embedder_data.rows.raw_files import RawFile


def _recognizes(file: RawFile) -> bool:
    if not {"query"} <= set(file.fields):
        return False
    is_text = all(isinstance(query, str) for query in file.values("query"))
    has_lists = {"pos", "neg", "history", "candidates"} & set(file.fields)
    return is_text and bool(has_lists)


def _train(record: Mapping[str, Any], parts: Parts) -> Row:
    candidates = record.get("history", record.get("candidates"))
    pos, neg = texts_of(record.get("pos"), "pos"), texts_of(record.get("neg"), "neg")
    unlabelled = None if candidates is None or pos else texts_of(candidates, "history")
    n_scored = len(unlabelled) if unlabelled is not None else len(pos) + len(neg)
    scores = record.get("teacher_scores")
    query_id = record.get("query_id", record.get("qid", record.get("id")))
    return train_row(
        record.get("query"),
        pos if unlabelled is None else (),
        neg if unlabelled is None else (),
        candidates=unlabelled,
        scores=None if scores is None else scores_of((scores, n_scored)),
        query_id=query_id,
        query_instruction=(record.get("instruction") or {}).get("query")
        if isinstance(record.get("instruction"), Mapping)
        else None,
        key_instruction=(record.get("instruction") or {}).get("key")
        if isinstance(record.get("instruction"), Mapping)
        else None,
        task=record.get("task"),
    )


LLM_EMBEDDER = Format(
    name="llm_embedder",
    what="rows of query, pos and neg (or history), with teacher_scores",
    recognizes=_recognizes,
    train=each(_train),
)
