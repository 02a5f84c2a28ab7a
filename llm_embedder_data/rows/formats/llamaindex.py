"""LlamaIndex's EmbeddingQAFinetuneDataset: a file of one object with queries and their corpus.

The file::

    {"queries": {"q1": "what causes tides"}, "corpus": {"d1": "Tides follow the moon."},
     "relevant_docs": {"q1": ["d1"]}}

It is known by these three fields. Documents that are not relevant to a query are not its negatives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.rows.formats.format import Format
from llm_embedder_data.rows.formats.parts import Parts
from llm_embedder_data.rows.formats.passage_texts import PassageTexts, refuse_template
from llm_embedder_data.rows.records.raw_files import RawFile
from llm_embedder_data.rows.schema.canonical_rows import (
    BadRowError,
    Dropped,
    Row,
    eval_row,
    ids_of,
    texts_of,
    train_row,
)

_PARTS = {"queries", "corpus", "relevant_docs"}


def _recognizes(file: RawFile) -> bool:
    return len(file.head) == 1 and _is_dataset(file.head[0])


def _is_dataset(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(value.get(name), Mapping) for name in _PARTS
    )


def _datasets(parts: Parts) -> Iterator[Mapping[str, Any]]:
    for record in parts.records():
        if not _is_dataset(record.value):
            raise parts.error("expected an object of queries, corpus and relevant_docs")
        yield record.value


def _rows(parts: Parts, make: Callable[[str, Any, list[str]], Row], missing: str) -> Iterator[Row]:
    """Yield ``make(query id, query, ids of its relevant documents)`` for each query.

    Args:
        parts: the parts of the source.
        make: returns the row of a query.
        missing: the reason under which queries without a relevant document are counted.
    """
    for dataset in _datasets(parts):
        parts.documents = dict(dataset["corpus"])
        for query_id, query in dataset["queries"].items():
            try:
                ids = ids_of(dataset["relevant_docs"].get(query_id), f"relevant_docs.{query_id}")
                if not ids:
                    raise Dropped(missing)
                yield make(query_id, query, ids)
            except (BadRowError, Dropped) as error:
                parts.leave_out(error)


def _train(parts: Parts) -> Iterator[Row]:
    refuse_template(parts)

    def make(query_id: str, query: Any, ids: list[str]) -> Row:
        texts, _ = parts.candidates_of(ids)
        return train_row(query, texts_of(texts, "corpus"), query_id=query_id)

    return _rows(parts, make, "queries without a positive")


def _eval(parts: Parts) -> Iterator[Row]:
    def make(query_id: str, query: Any, ids: list[str]) -> Row:
        _, kept = parts.candidates_of(ids)
        return eval_row(query, query_id, {ids[position]: 1 for position in kept})

    return _rows(parts, make, "queries without judgments")


def _corpus(parts: Parts) -> Iterator[Row]:
    passages = PassageTexts(parts)
    for dataset in _datasets(parts):
        for doc_id, text in dataset["corpus"].items():
            if not isinstance(text, str):
                raise DataError.at(parts.source, f"corpus.{doc_id}: expected a string")
            yield passages.row({"id": doc_id, "text": text})
    passages.check_fields()


LLAMAINDEX = Format(
    name="llamaindex",
    what="LlamaIndex's object of queries, corpus and relevant_docs",
    recognizes=_recognizes,
    train=_train,
    eval=_eval,
    corpus=_corpus,
)
