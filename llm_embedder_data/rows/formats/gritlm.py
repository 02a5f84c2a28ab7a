"""Rows whose texts are pairs [instruction, text]: GritLM's, and MEDI's, which train INSTRUCTOR.

A record of GritLM's has lists of such pairs::

    {"query": ["Find an explanation.", "what causes tides"],
     "pos": [["", "Tides follow the moon."]], "neg": [["", "Rain falls from clouds."]]}

A record of MEDI's has one positive and one negative, and the name of its task::

    {"query": ["Find an explanation: ", "what causes tides"],
     "pos": ["Represent the text: ", "Tides follow the moon."],
     "neg": ["Represent the text: ", "Rain falls from clouds."], "task_name": "nq"}

A file is known by how deep the lists of ``query`` and ``pos`` are nested. GritLM's texts may also
be plain, without an instruction; but a ``pos`` of two plain texts is MEDI's pair.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm_embedder_data.core.shown_values import shown
from llm_embedder_data.rows.formats.format import Format, each_record, is_text, most_are
from llm_embedder_data.rows.formats.llm_embedder import query_id_in
from llm_embedder_data.rows.formats.parts import Parts
from llm_embedder_data.rows.records.raw_files import RawFile
from llm_embedder_data.rows.schema.canonical_rows import (
    BadRowError,
    Dropped,
    Row,
    text_of,
    train_row,
)


def is_pair(value: Any) -> bool:
    """Return whether a value is a pair [instruction, text]."""
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(isinstance(entry, str) for entry in value)
    )


def _queries_are_pairs(file: RawFile) -> bool:
    queries = file.values("query")
    return most_are(queries, is_pair) and "pos" in file.fields


def _is_nested(value: Any) -> bool:
    return (
        isinstance(value, list) and bool(value) and all(isinstance(entry, list) for entry in value)
    )


def _are_plain(value: Any) -> bool:
    """Return whether a value is a list of texts, and not a single pair [instruction, text]."""
    return isinstance(value, list) and bool(value) and all(map(is_text, value)) and len(value) != 2


def _recognizes_gritlm(file: RawFile) -> bool:
    positives = file.values("pos")
    if _queries_are_pairs(file) and most_are(positives, _are_plain):
        return True  # only the queries have instructions
    if not most_are(positives, _is_nested):
        return False
    # Queries that are lists of something else, such as token ids, belong to another format.
    return _queries_are_pairs(file) or most_are(file.values("query"), is_text)


def _recognizes_medi(file: RawFile) -> bool:
    return _queries_are_pairs(file) and most_are(file.values("pos"), is_pair)


def _pair(value: Any, field: str) -> tuple[str | None, str]:
    """Return the instruction and the text of a pair; the instruction of a plain text is None."""
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
    return [_pair(entry, field) for entry in value]


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
    key_instructions = {key_instruction for key_instruction, _ in [*pos, *neg]}
    if len(key_instructions) > 1:
        raise BadRowError("its passages have different instructions, but a row can have only one")
    return train_row(
        query,
        [text for _, text in pos],
        [text for _, text in neg],
        query_id=query_id_in(record),
        query_instruction=instruction,
        key_instruction=next(iter(key_instructions)),
        task=record.get("task_name", record.get("task")),
    )


GRITLM = Format(
    name="gritlm",
    what="GritLM's rows of [instruction, text]",
    recognizes=_recognizes_gritlm,
    train=each_record(_gritlm),
)
MEDI = Format(
    name="medi",
    what="MEDI's rows, each field one [instruction, text]",
    recognizes=_recognizes_medi,
    train=each_record(_medi),
)
