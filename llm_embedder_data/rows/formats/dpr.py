"""DPR's rows: a question with positive, hard negative and other negative contexts.

A record::

    {"question": "what causes tides",
     "positive_ctxs": [{"title": "Tides", "text": "Tides follow the moon.", "passage_id": "7"}],
     "hard_negative_ctxs": [{"title": "Rain", "text": "Rain falls from clouds."}],
     "negative_ctxs": []}

A file is known by ``positive_ctxs``. ``negative_ctxs`` are read only if there are no hard
negatives. The scores of contexts are not read: they are those of BM25, or 1000, and not a
teacher's. A passage that a list repeats is kept once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm_embedder_data.rows.formats.format import Format, each_record
from llm_embedder_data.rows.formats.judgments import relevant_row
from llm_embedder_data.rows.formats.parts import Parts
from llm_embedder_data.rows.formats.tevatron import passage_ids_of, passages_of
from llm_embedder_data.rows.records.raw_files import RawFile
from llm_embedder_data.rows.schema.canonical_rows import Dropped, Row, train_row


def _recognizes(file: RawFile) -> bool:
    return "positive_ctxs" in file.fields


def _query(record: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return the text and the id of a record's query; the id is None if it has none."""
    names = ("query_id", "question_id", "qid", "id")
    query_id = next((record[name] for name in names if record.get(name) is not None), None)
    return record.get("question", record.get("query")), query_id


def _train(record: Mapping[str, Any], parts: Parts) -> Row:
    pos = passages_of(record.get("positive_ctxs"), "positive_ctxs", keeps_ids=parts.keeps_ids)
    if not pos:
        raise Dropped("rows without a positive")
    hard = passages_of(record.get("hard_negative_ctxs"), "hard_negative_ctxs")
    neg = hard or passages_of(record.get("negative_ctxs"), "negative_ctxs")
    query, query_id = _query(record)
    if not parts.keeps_ids:  # with ids kept, equal texts may have different ids
        pos = list(dict.fromkeys(pos))
    return train_row(query, pos, dict.fromkeys(neg), query_id=query_id)


def _eval(record: Mapping[str, Any], parts: Parts) -> Row:
    query, query_id = _query(record)
    ids = passage_ids_of(record.get("positive_ctxs"), "positive_ctxs")
    return relevant_row(query, query_id, ids, parts)


DPR = Format(
    name="dpr",
    what="DPR's rows of question and positive_ctxs",
    recognizes=_recognizes,
    train=each_record(_train),
    eval=each_record(_eval),
)
