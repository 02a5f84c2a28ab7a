"""Rows whose query begins with its instruction, "Instruct: ... Query: ...", as KaLM's and E5's do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from llm_embedder_data.rows.canonical_rows import BadRowError, Row, texts_of, train_row
from llm_embedder_data.rows.formats.format import Format, Parts, each
from llm_embedder_data.rows.raw_files import RawFile

_INSTRUCTED = re.compile(r"(Instruct:.*?\n\s*Query:\s*)(.*)", re.DOTALL)


def _recognizes(file: RawFile) -> bool:
    queries = file.values("query")
    return (
        "pos" in file.fields
        and bool(queries)
        and all(isinstance(query, str) and _INSTRUCTED.match(query) for query in queries)
    )


def _train(record: Mapping[str, Any], parts: Parts) -> Row:
    query = record.get("query")
    if not isinstance(query, str):
        raise BadRowError("query: expected a string")
    found = _INSTRUCTED.match(query)
    return train_row(
        found[2] if found else query,
        texts_of(record.get("pos"), "pos"),
        texts_of(record.get("neg"), "neg"),
        query_id=record.get("query_id"),
        query_instruction=found[1] if found else None,
    )


KALM = Format(
    name="kalm",
    what="rows whose query begins with 'Instruct: ... Query: '",
    recognizes=_recognizes,
    train=each(_train),
)
