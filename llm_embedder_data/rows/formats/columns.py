"""Columns as sentence-transformers' data sets have them: an anchor, a positive, negatives.

An n-tuple's ``scores`` are a teacher's, of the positive and then the negatives. Old FlagEmbedding
eval files (query and a ``positive`` list), pairs of question and answer, (query, response,
rejected_response), and Cohere's relevant_passages are of the same shape.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from typing import Any

from llm_embedder_data.rows.canonical_rows import (
    BadRowError,
    Dropped,
    Row,
    scores_of,
    texts_of,
    train_row,
)
from llm_embedder_data.rows.formats.format import Format, Parts, each
from llm_embedder_data.rows.raw_files import RawFile

QUERIES = ("anchor", "query", "question", "sent0", "sentence1", "sent1", "text1", "sentence_1")
POSITIVES = (
    *("positive", "positives", "pos", "answer", "answers", "response", "sent1", "sentence2"),
    *("sent2", "text2", "sentence_2", "relevant_passages", "passage", "document"),
)
NEGATIVES = ("negative", "negatives", "neg", "hard_neg", "hard_negative", "hard_negatives")
REJECTED = ("rejected_response", "rejected")
_NEGATIVE = re.compile(r"(negative|neg|hard_neg|hard_negative)_?(\d+)")
_LONGEST_LIST = 1 << 20


def plain(name: str) -> str:
    """A column's name without blanks at its ends, in lower case."""
    return name.strip().lower()


def sides(names: list[str]) -> tuple[str | None, str | None, list[str]]:
    """The columns of query, positive and negatives; negatives in the order of their numbers."""
    by_plain = {plain(name): name for name in reversed(names)}
    query = next((by_plain[name] for name in QUERIES if name in by_plain), None)
    positive = next(
        (by_plain[name] for name in POSITIVES if name in by_plain and by_plain[name] != query), None
    )
    numbered = [
        (int(found[2]), by_plain[name]) for name in by_plain if (found := _NEGATIVE.fullmatch(name))
    ]
    single = [by_plain[name] for name in (*NEGATIVES, *REJECTED) if name in by_plain]
    return query, positive, [*single, *(name for _, name in sorted(numbered))]


def listed(value: Any, field: str) -> list[str]:
    """A cell's texts: a list, or a text that is written as a list in JSON or by Python."""
    if isinstance(value, str):
        text = value.strip()
        if text.startswith("[") and text.endswith("]") and len(text) <= _LONGEST_LIST:
            value = _list_in(text) or value if text != "[]" else []
    if isinstance(value, str) and not value.strip():
        return []
    return texts_of(value, field)


def _list_in(text: str) -> list[Any] | None:
    for parse in (json.loads, ast.literal_eval):
        try:
            value = parse(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        if isinstance(value, list) and all(isinstance(entry, str) for entry in value):
            return value
    return None


def _recognizes(file: RawFile) -> bool:
    query, positive, _ = sides(list(file.fields))
    return query is not None and positive is not None


def _train(record: Mapping[str, Any], parts: Parts) -> Row:
    query, positive, negatives = sides(list(record))
    if query is None or positive is None:
        raise BadRowError(f"no query and positive among its columns ({', '.join(record)})")
    pos = listed(record[positive], positive)
    if not pos:
        raise Dropped("rows without a positive")
    neg = [text for name in negatives for text in listed(record[name], name)]
    given = record.get("scores")
    if given is None and isinstance(record.get("label"), list):
        given = record["label"]
    scores = None
    if isinstance(given, list) and len(given) == len(pos) + len(neg):
        scores = scores_of((given, len(given)))
    return train_row(
        record[query],
        pos,
        neg,
        scores=scores,
        query_id=record.get("query_id", record.get("qid", record.get("_id", record.get("id")))),
        task=record.get("task"),
    )


COLUMNS = Format(
    name="columns",
    what="columns of a query, a positive, and negatives",
    recognizes=_recognizes,
    train=each(_train),
)


def _is_cohere(file: RawFile) -> bool:
    return {"query", "relevant_passages"} <= set(file.fields)


COHERE = Format(
    name="cohere",
    what="Cohere's rows of relevant_passages and hard_negatives",
    recognizes=_is_cohere,
    train=each(_train),
)
