"""DPR's rows: question, positive_ctxs, hard_negative_ctxs, negative_ctxs.

A context's scores are BM25's or 1000, and no teacher's. ``negative_ctxs`` are used where there are
no hard ones. A passage that stands in a list twice is kept once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm_embedder_data.rows.formats.format import Format, each
from llm_embedder_data.rows.formats.judgments import relevant_row
from llm_embedder_data.rows.formats.parts import Parts
from llm_embedder_data.rows.formats.tevatron import passage_ids_of, passages_of
from llm_embedder_data.rows.records.raw_files import RawFile
from llm_embedder_data.rows.schema.canonical_rows import Dropped, Row, train_row


def _recognizes(file: RawFile) -> bool:
    return "positive_ctxs" in file.fields


def _ids(record: Mapping[str, Any]) -> tuple[Any, Any]:
    names = ("query_id", "question_id", "qid", "id")
    found = next((record[name] for name in names if record.get(name) is not None), None)
    return record.get("question", record.get("query")), found


def _train(record: Mapping[str, Any], parts: Parts) -> Row:
    pos = passages_of(record.get("positive_ctxs"), "positive_ctxs", keeps_ids=parts.keeps_ids)
    if not pos:
        raise Dropped("rows without a positive")
    hard = passages_of(record.get("hard_negative_ctxs"), "hard_negative_ctxs")
    neg = hard or passages_of(record.get("negative_ctxs"), "negative_ctxs")
    query, query_id = _ids(record)
    if not parts.keeps_ids:  # a text has an id wherever it stands
        pos = list(dict.fromkeys(pos))
    return train_row(query, pos, dict.fromkeys(neg), query_id=query_id)


def _eval(record: Mapping[str, Any], parts: Parts) -> Row:
    query, query_id = _ids(record)
    ids = passage_ids_of(record.get("positive_ctxs"), "positive_ctxs")
    return relevant_row(query, query_id, ids, parts)


DPR = Format(
    name="dpr",
    what="DPR's rows of question and positive_ctxs",
    recognizes=_recognizes,
    train=each(_train),
    eval=each(_eval),
)
