"""GritLM's rows, whose texts are [instruction, text], and MEDI's, of one positive and negative."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm_embedder_data.rows.formats.format import Format, each, is_text, most_are
from llm_embedder_data.rows.formats.llm_embedder import own_id
from llm_embedder_data.rows.formats.parts import Parts
from llm_embedder_data.rows.records.raw_files import RawFile
from llm_embedder_data.rows.schema.canonical_rows import (
    BadRowError,
    Dropped,
    Row,
    shown,
    text_of,
    train_row,
)


def is_pair(value: Any) -> bool:
    """Whether a value is [instruction, text]."""
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(isinstance(entry, str) for entry in value)
    )


def _queries_are_pairs(file: RawFile) -> bool:
    queries = file.values("query")
    return most_are(queries, is_pair) and "pos" in file.fields


def _is_nested(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, list) for one in value)


def _recognizes_gritlm(file: RawFile) -> bool:
    if not most_are(file.values("pos"), _is_nested):
        return False
    # A list of ids or labels, in place of a text, is another format's.
    return _queries_are_pairs(file) or most_are(file.values("query"), is_text)


def _recognizes_medi(file: RawFile) -> bool:
    return _queries_are_pairs(file) and most_are(file.values("pos"), is_pair)


def _pair(value: Any, field: str) -> tuple[str | None, str]:
    """The instruction and the text; a plain text has no instruction of its own."""
    if isinstance(value, str):
        return None, text_of(value, field)
    if not is_pair(value):
        raise BadRowError(f"{field}: expected [instruction, text], found {shown(value)}")
    return value[0], text_of(value[1], field)


def _gritlm(record: Mapping[str, Any], parts: Parts) -> Row:
    return _row(record, *(_pairs(record.get(name), name) for name in ("pos", "neg")))


def _pairs(value: Any, field: str) -> list[tuple[str | None, str]]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise BadRowError(f"{field}: expected a list of [instruction, text], found {shown(value)}")
    return [_pair(one, field) for one in value]


def _medi(record: Mapping[str, Any], parts: Parts) -> Row:
    return _row(
        record,
        [_pair(record.get("pos"), "pos")],
        [_pair(record["neg"], "neg")] if record.get("neg") else [],
    )


def _row(
    record: Mapping[str, Any],
    pos: list[tuple[str | None, str]],
    neg: list[tuple[str | None, str]],
) -> Row:
    if not pos:
        raise Dropped("rows without a positive")
    instruction, query = _pair(record.get("query"), "query")
    of_keys = {one for one, _ in [*pos, *neg]}
    if len(of_keys) > 1:
        raise BadRowError("its passages have different instructions, and a row has one")
    return train_row(
        query,
        [text for _, text in pos],
        [text for _, text in neg],
        query_id=own_id(record),
        query_instruction=instruction,
        key_instruction=next(iter(of_keys)),
        task=record.get("task_name", record.get("task")),
    )


GRITLM = Format(
    name="gritlm",
    what="GritLM's rows of [instruction, text]",
    recognizes=_recognizes_gritlm,
    train=each(_gritlm),
)
MEDI = Format(
    name="medi",
    what="MEDI's rows, one [instruction, text] a side",
    recognizes=_recognizes_medi,
    train=each(_medi),
)
