"""GritLM's rows, whose texts are [instruction, text], and MEDI's, of one positive and negative."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm_embedder_data.rows.canonical_rows import BadRowError, Row, train_row
from llm_embedder_data.rows.formats.format import Format, Parts, each
from llm_embedder_data.rows.raw_files import RawFile


def is_pair(value: Any) -> bool:
    """Whether a value is [instruction, text]."""
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(isinstance(entry, str) for entry in value)
    )


def _queries_are_pairs(file: RawFile) -> bool:
    queries = file.values("query")
    return bool(queries) and all(map(is_pair, queries)) and "pos" in file.fields


def _is_nested(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, list) for one in value)


def _recognizes_gritlm(file: RawFile) -> bool:
    return _queries_are_pairs(file) and all(map(_is_nested, file.values("pos")))


def _recognizes_medi(file: RawFile) -> bool:
    return _queries_are_pairs(file) and all(map(is_pair, file.values("pos")))


def _pair(value: Any, field: str) -> tuple[str, str]:
    if isinstance(value, str):
        return "", value
    if not is_pair(value):
        raise BadRowError(f"{field}: expected [instruction, text]")
    return value[0], value[1]


def _gritlm(record: Mapping[str, Any], parts: Parts) -> Row:
    instruction, query = _pair(record.get("query"), "query")
    pos = [_pair(one, "pos") for one in record.get("pos") or ()]
    neg = [_pair(one, "neg") for one in record.get("neg") or ()]
    return _row(record, instruction, query, pos, neg)


def _medi(record: Mapping[str, Any], parts: Parts) -> Row:
    instruction, query = _pair(record.get("query"), "query")
    pos = [_pair(record.get("pos"), "pos")]
    neg = [_pair(record["neg"], "neg")] if record.get("neg") else []
    return _row(record, instruction, query, pos, neg)


def _row(
    record: Mapping[str, Any],
    instruction: str,
    query: str,
    pos: list[tuple[str, str]],
    neg: list[tuple[str, str]],
) -> Row:
    of_keys = {one for one, _ in [*pos, *neg]}
    if len(of_keys) > 1:
        raise BadRowError("its passages have different instructions, and a row has one")
    return train_row(
        query,
        [text for _, text in pos],
        [text for _, text in neg],
        query_id=record.get("query_id", record.get("id")),
        query_instruction=instruction,
        key_instruction=next(iter(of_keys), ""),
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
