"""LlamaIndex's EmbeddingQAFinetuneDataset: one object of queries, corpus and relevant_docs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.rows.formats.format import Format
from llm_embedder_data.rows.formats.parts import Parts
from llm_embedder_data.rows.records.raw_files import RawFile
from llm_embedder_data.rows.schema.canonical_rows import (
    BadRowError,
    Dropped,
    Row,
    corpus_row,
    eval_row,
    ids_of,
    texts_of,
    train_row,
)

_PARTS = {"queries", "corpus", "relevant_docs"}


def _recognizes(file: RawFile) -> bool:
    return len(file.head) == 1 and _is_whole(file.head[0])


def _is_whole(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(value.get(name), Mapping) for name in _PARTS
    )


def _wholes(parts: Parts) -> Iterator[Mapping[str, Any]]:
    for record in parts.records():
        if not _is_whole(record.value):
            raise parts.error("expected an object of queries, corpus and relevant_docs")
        yield record.value


def _rows(parts: Parts, make: Callable[[str, Any, list[str]], Row], missing: str) -> Iterator[Row]:
    for whole in _wholes(parts):
        parts.documents = dict(whole["corpus"])
        for query_id, query in whole["queries"].items():
            try:
                ids = ids_of(whole["relevant_docs"].get(query_id), f"relevant_docs.{query_id}")
                if not ids:
                    raise Dropped(missing)
                yield make(query_id, query, ids)
            except (BadRowError, Dropped) as error:
                parts.leave_out(error)


def _train(parts: Parts) -> Iterator[Row]:
    def make(query_id: str, query: Any, ids: list[str]) -> Row:
        texts, _ = parts.joined(ids)
        return train_row(query, texts_of(texts, "corpus"), query_id=query_id)

    return _rows(parts, make, "queries without a positive")


def _eval(parts: Parts) -> Iterator[Row]:
    def make(query_id: str, query: Any, ids: list[str]) -> Row:
        _, kept = parts.joined(ids)
        return eval_row(query, query_id, {ids[place]: 1 for place in kept})

    return _rows(parts, make, "queries without judgments")


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
