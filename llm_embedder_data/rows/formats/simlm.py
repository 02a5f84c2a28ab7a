"""SimLM's and E5's rows for distillation: ids and scores of positives and negatives.

A record::

    {"query_id": "17", "query": "what causes tides",
     "positives": {"doc_id": ["482"], "score": [9.1]},
     "negatives": {"doc_id": ["90", "1205"], "score": [-3.0, -4.2]}}

A file is known by ``doc_id`` in ``positives``. A document id is the number of the document's line
in the corpus, from 0, whatever ids the corpus has. The scores are a teacher's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from llm_embedder_data.rows.formats.format import Format, Reader, each_record, most_are
from llm_embedder_data.rows.formats.judgments import relevant_row
from llm_embedder_data.rows.formats.parts import Parts
from llm_embedder_data.rows.passages.passage_files import PassageFile, PassagesByLine
from llm_embedder_data.rows.records.raw_files import RawFile
from llm_embedder_data.rows.schema.canonical_rows import (
    BadRowError,
    Dropped,
    Row,
    ids_of,
    scores_of,
    train_row,
)


def _recognizes(file: RawFile) -> bool:
    return most_are(
        file.values("positives"), lambda one: isinstance(one, Mapping) and "doc_id" in one
    )


def _ids_and_scores(value: Any, field: str) -> tuple[list[str], list[Any] | None]:
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
    positive, positive_scores = _ids_and_scores(record.get("positives"), "positives")
    negative, negative_scores = _ids_and_scores(record.get("negatives"), "negatives")
    if not positive:
        raise Dropped("rows without a positive")
    pos, neg, kept = parts.pos_and_neg_of(positive, negative)
    has_scores = positive_scores is not None or bool(negative_scores)
    scores = None
    if positive_scores is not None and negative_scores is not None:
        given = [*positive_scores, *negative_scores]
        scores = scores_of(([given[position] for position in kept], len(kept)))
    return train_row(
        record.get("query"),
        pos,
        neg,
        scores=parts.complete_scores(has_scores, scores),
        query_id=record.get("query_id"),
    )


def _eval(record: Mapping[str, Any], parts: Parts) -> Row:
    positive, _ = _ids_and_scores(record.get("positives"), "positives")
    return relevant_row(record.get("query"), record.get("query_id"), positive, parts)


def by_line(reader: Reader) -> Reader:
    """Return a reader that finds documents by their line numbers in the corpus, not by their ids.

    Args:
        reader: takes line numbers, from 0, for document ids.
    """

    def read(parts: Parts) -> Iterator[Row]:
        if parts.texts_of_corpus is not None and parts.ids_of_lines is not None:
            documents = parts.documents
            if isinstance(documents, PassageFile):
                parts.documents = PassagesByLine(documents.path)
            else:
                texts = enumerate(documents.values())
                parts.documents = {str(line): text for line, text in texts}
        yield from reader(parts)

    return read


SIMLM = Format(
    name="simlm",
    what="SimLM's rows of positives and negatives with doc_id and score",
    recognizes=_recognizes,
    train=by_line(each_record(_train)),
    eval=by_line(each_record(_eval)),
)
