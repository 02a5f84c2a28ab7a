"""DPR's rows: question, positive_ctxs, hard_negative_ctxs, negative_ctxs.

A context's scores are BM25's or 1000, and no teacher's. ``negative_ctxs`` are used where there are
no hard ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm_embedder_data.rows.canonical_rows import Dropped, Row, train_row
from llm_embedder_data.rows.formats.format import Format, Parts, each
from llm_embedder_data.rows.formats.tevatron import passages_of
from llm_embedder_data.rows.raw_files import RawFile


def _recognizes(file: RawFile) -> bool:
    return "positive_ctxs" in file.fields


def _train(record: Mapping[str, Any], parts: Parts) -> Row:
    pos = passages_of(record.get("positive_ctxs"), "positive_ctxs")
    if not pos:
        raise Dropped("rows without a positive")
    hard = passages_of(record.get("hard_negative_ctxs"), "hard_negative_ctxs")
    neg = hard or passages_of(record.get("negative_ctxs"), "negative_ctxs")
    return train_row(
        record.get("question"),
        dict.fromkeys(pos),
        neg,
        query_id=record.get("id", record.get("question_id")),
    )


DPR = Format(
    name="dpr",
    what="DPR's rows of question and positive_ctxs",
    recognizes=_recognizes,
    train=each(_train),
)
