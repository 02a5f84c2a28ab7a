"""Tevatron's rows of passages (also MIRACL, Mr.TyDi, Promptriever), and LightRetriever's.

``positive_passages`` and ``negative_passages`` are lists of {docid, title, text}; LightRetriever
adds ``ce_score`` to each, a teacher's score.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm_embedder_data.rows.canonical_rows import (
    BadRowError,
    Dropped,
    Row,
    scores_of,
    titled,
    train_row,
)
from llm_embedder_data.rows.formats.format import Format, Parts, each
from llm_embedder_data.rows.raw_files import RawFile

_NO_TITLE = ("-",)


def passages_of(value: Any, field: str, no_title: tuple[str, ...] = ()) -> list[str]:
    """The texts of a list of passages, each {title?, text} or a string."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise BadRowError(f"{field}: expected a list of passages, found {type(value).__name__}")
    texts = []
    for number, passage in enumerate(value):
        where = f"{field}[{number}]"
        if isinstance(passage, str):
            passage = {"text": passage}
        if not isinstance(passage, Mapping):
            raise BadRowError(f"{where}: expected a passage, found {type(passage).__name__}")
        texts.append(titled(passage.get("title"), passage.get("text"), where, no_title=no_title))
    return texts


def _recognizes(file: RawFile) -> bool:
    return "positive_passages" in file.fields and "query" in file.fields


def _has_scores(file: RawFile) -> bool:
    lists = file.values("positive_passages") + file.values("negative_passages")
    return _recognizes(file) and any(
        isinstance(passage, Mapping) and "ce_score" in passage
        for passages in lists
        if isinstance(passages, list)
        for passage in passages
    )


def _train(record: Mapping[str, Any], parts: Parts) -> Row:
    positive, negative = record.get("positive_passages"), record.get("negative_passages")
    pos = passages_of(positive, "positive_passages", _NO_TITLE)
    neg = passages_of(negative, "negative_passages", _NO_TITLE)
    if not pos:
        raise Dropped("rows without a positive")
    given = [
        passage.get("ce_score") if isinstance(passage, Mapping) else None
        for passage in [*positive, *(negative or ())]
    ]
    scores = scores_of((given, len(given))) if any(one is not None for one in given) else None
    if scores is None and any(one is not None for one in given):
        parts.counts["rows without teacher scores, as some candidates have none"] += 1
    query = record.get("only_query") or record.get("query")
    return train_row(
        query,
        pos,
        neg,
        scores=scores,
        query_id=record.get("query_id", record.get("_id")),
        query_instruction=record.get("instruction") or None,
    )


TEVATRON = Format(
    name="tevatron",
    what="Tevatron's rows of positive_passages and negative_passages",
    recognizes=_recognizes,
    train=each(_train),
)
LIGHTRETRIEVER = Format(
    name="lightretriever",
    what="LightRetriever's rows of passages with ce_score",
    recognizes=_has_scores,
    train=each(_train),
)
