"""FlagEmbedding's rows: query, pos, neg with pos_scores, neg_scores, prompt and type.

Embedder: ``prompt`` stands before the query; in rows of type symmetric_sts and
symmetric_clustering before the keys too. Reranker: ``prompt`` belongs to the pair, and is the
query's; query_prompt and passage_prompt name a side each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm_embedder_data.rows.canonical_rows import Row, scores_of, texts_of, train_row
from llm_embedder_data.rows.formats.format import Format, Parts, each
from llm_embedder_data.rows.raw_files import RawFile

TYPES = {
    "normal",
    "only_1neg",
    "symmetric_class",
    "symmetric_clustering",
    "symmetric_sts",
}
_KEYS_TOO = {"symmetric_sts", "symmetric_clustering"}
_MARKS = {"pos_scores", "neg_scores", "prompt", "query_prompt", "passage_prompt"}


def _recognizes(file: RawFile) -> bool:
    fields = set(file.fields)
    if not {"query", "pos"} <= fields or "teacher_scores" in fields:
        return False
    if not all(isinstance(query, str) for query in file.values("query")):
        return False
    return bool(fields & _MARKS) or bool(TYPES & {str(kind) for kind in file.values("type")})


def _train(record: Mapping[str, Any], parts: Parts) -> Row:
    pos, neg = texts_of(record.get("pos"), "pos"), texts_of(record.get("neg"), "neg")
    given = (record.get("pos_scores"), len(pos)), (record.get("neg_scores"), len(neg))
    has_scores = record.get("pos_scores") is not None or record.get("neg_scores") is not None
    scores = scores_of(*given) if has_scores else None
    if has_scores and scores is None:
        parts.counts["rows without teacher scores, as some candidates have none"] += 1
    prompt = record.get("prompt") or None
    both = prompt if record.get("type") in _KEYS_TOO else None
    return train_row(
        record.get("query"),
        pos,
        neg,
        scores=scores,
        query_id=record.get("query_id", record.get("qid", record.get("id"))),
        query_instruction=record.get("query_prompt") or prompt,
        key_instruction=record.get("passage_prompt") or both,
        task=record.get("task"),
    )


FLAGEMBEDDING = Format(
    name="flagembedding",
    what="FlagEmbedding's rows (query, pos, neg, pos_scores, neg_scores, prompt)",
    recognizes=_recognizes,
    train=each(_train),
)
