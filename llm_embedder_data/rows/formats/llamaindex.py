"""LlamaIndex's EmbeddingQAFinetuneDataset: one object of queries, corpus and relevant_docs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.rows.canonical_rows import Row, corpus_row, eval_row, train_row
from llm_embedder_data.rows.formats.format import Format, Parts
from llm_embedder_data.rows.raw_files import RawFile

_PARTS = {"queries", "corpus", "relevant_docs"}


def _recognizes(file: RawFile) -> bool:
    return (
        len(file.head) == 1
        and isinstance(file.head[0], Mapping)
        and set(file.head[0]) >= _PARTS
        and all(isinstance(file.head[0][name], Mapping) for name in _PARTS)
    )


def _wholes(parts: Parts) -> Iterator[Mapping[str, Any]]:
    for record in parts.records():
        if not isinstance(record.value, Mapping) or not set(record.value) >= _PARTS:
            raise parts.error("expected an object of queries, corpus and relevant_docs")
        yield record.value


def _ids(whole: Mapping[str, Any], query_id: str, parts: Parts) -> list[str]:
    ids = whole["relevant_docs"].get(query_id) or []
    known = [one for one in ids if one in whole["corpus"]]
    if len(known) < len(ids):
        parts.counts["positive ids that the corpus does not have"] += len(ids) - len(known)
    return known


def _train(parts: Parts) -> Iterator[Row]:
    for whole in _wholes(parts):
        for query_id, query in whole["queries"].items():
            ids = _ids(whole, query_id, parts)
            if not ids:
                parts.counts["queries without a positive"] += 1
                continue
            yield train_row(query, [whole["corpus"][one] for one in ids], query_id=query_id)


def _eval(parts: Parts) -> Iterator[Row]:
    for whole in _wholes(parts):
        for query_id, query in whole["queries"].items():
            ids = _ids(whole, query_id, parts)
            if not ids:
                parts.counts["queries without judgments"] += 1
                continue
            yield eval_row(query, query_id, dict.fromkeys(ids, 1))


def _corpus(parts: Parts) -> Iterator[Row]:
    for whole in _wholes(parts):
        for one, text in whole["corpus"].items():
            if not isinstance(text, str):
                raise DataError.at(parts.source, f"corpus.{one}: expected a string")
            yield corpus_row(one, text)


LLAMAINDEX = Format(
    name="llamaindex",
    what="LlamaIndex's object of queries, corpus and relevant_docs",
    recognizes=_recognizes,
    train=_train,
    eval=_eval,
    corpus=_corpus,
)
