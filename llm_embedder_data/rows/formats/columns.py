"""Rows of the datasets for sentence-transformers: an anchor, a positive, and negatives.

A record::

    {"anchor": "what causes tides", "positive": "Tides follow the moon.",
     "negative_1": "Rain falls from clouds.", "negative_2": "Wind moves air.",
     "scores": [9.1, -3.0, -4.2]}

A file is known by one of many names for each of query and positive (QUERIES, POSITIVES), in any
letter case; negatives are optional. ``scores`` are teacher scores if there is one for each text,
the positive first. Old FlagEmbedding eval files (``query`` and a list ``positive``), pairs of
``question`` and ``answer``, rows of ``query``, ``response`` and ``rejected_response``, and Cohere's
rerank files (``query``, ``relevant_passages``, ``hard_negatives``) have the same shape.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from llm_embedder_data.core.shown_values import shown
from llm_embedder_data.rows.formats.format import Format
from llm_embedder_data.rows.formats.llm_embedder import query_id_in
from llm_embedder_data.rows.formats.parts import Parts
from llm_embedder_data.rows.formats.passage_ids import Candidates, id_and_query, pos_and_neg
from llm_embedder_data.rows.formats.short_texts import are_short
from llm_embedder_data.rows.records.raw_files import RawFile
from llm_embedder_data.rows.schema.canonical_rows import (
    BadRowError,
    Dropped,
    Row,
    text_of,
    texts_of,
    train_row,
)

QUERIES = ("anchor", "query", "question", "sent0", "sentence1", "sent1", "text1", "sentence_1")
POSITIVES = (
    *("positive", "positives", "pos", "answer", "answers", "response", "sent1", "sentence2"),
    *("sent2", "text2", "sentence_2", "relevant_passages", "passage", "document"),
)
NEGATIVES = ("negative", "negatives", "neg", "hard_neg", "hard_negative", "hard_negatives")
REJECTED = ("rejected_response", "rejected")
_NEGATIVE = re.compile(r"(negative|neg|hard_neg|hard_negative)_?([0-9]+)")
SCORES = ("scores", "teacher_scores", "score")
LABELS = ("labels", "label")


def _by_number(numbered: tuple[str, str]) -> tuple[int, str]:
    """Sort key of (digits without leading zeros, column), which sorts by number of any length."""
    return len(numbered[0]), numbered[0]


def plain_name(name: str) -> str:
    """Return a column's name as it is compared: in lower case, without blanks at its ends."""
    return name.strip().lower()


def side_columns(names: list[str]) -> tuple[str | None, str | None, list[str]]:
    """Return the columns of query, positive and negatives; numbered negatives by their numbers.

    Query and positive are None if no column has one of their names.
    """
    by_plain = {plain_name(name): name for name in reversed(names)}
    query = next((by_plain[name] for name in QUERIES if name in by_plain), None)
    positive = next(
        (by_plain[name] for name in POSITIVES if name in by_plain and by_plain[name] != query), None
    )
    numbered = [
        (found[2].lstrip("0"), by_plain[name])
        for name in by_plain
        if (found := _NEGATIVE.fullmatch(name))
    ]
    single = [by_plain[name] for name in (*NEGATIVES, *REJECTED) if name in by_plain]
    return query, positive, [*single, *(name for _, name in sorted(numbered, key=_by_number))]


def _recognizes(file: RawFile) -> bool:
    query, positive, _ = side_columns(list(file.fields))
    return query is not None and positive is not None


def _train(record: Mapping[str, Any], parts: Parts) -> Row:
    query, positive, negatives = side_columns(list(record))
    if query is None or positive is None:
        names = ", ".join(name[:40] for name in list(record)[:20])
        raise BadRowError(f"no query and positive among its columns ({names})")
    found = pos_and_neg(record, parts, positive, negatives)
    if not found.pos:
        raise Dropped("rows without a positive")
    query_id, text = id_and_query(
        record, parts, query, query_id_in(record), names_ids=found.kept is not None
    )
    return train_row(
        text,
        found.pos,
        found.neg,
        scores=_scores(record, found, parts),
        query_id=query_id,
        task=record.get("task"),
    )


def _scores(record: Mapping[str, Any], found: Candidates, parts: Parts) -> list[float] | None:
    """Return a record's teacher scores, from the first column that has a number for each text.

    Columns of scores or labels before it are counted as not read.
    """
    by_plain = {plain_name(name): name for name in record}
    labels = [by_plain[name] for name in (*SCORES, *LABELS) if name in by_plain]
    for name in labels:
        given = record[name]
        if given is None:
            continue
        if isinstance(given, list) and len(given) == found.n_given > 1:
            return parts.complete_scores(True, found.scores(given))
        parts.counts[f"rows whose {name} is not read (no score for each text)"] += 1
    return None


_SHORT = "rows whose answers look like no passages (the median has under 5 words)"


def _has_short_answers(file: RawFile) -> bool:
    """Return whether the positives are answers of so few words that they can hardly be passages."""
    _, positive, _ = side_columns(list(file.fields))
    is_answer = positive is not None and plain_name(positive) in ("answer", "answers")
    return is_answer and are_short(file.values(positive or ""))


def _read(parts: Parts) -> Iterator[Row]:
    short = {file.path for file in parts.files if _has_short_answers(file)}
    for record in parts.records():
        if parts.at is not None and parts.at[0] in short:
            parts.counts[_SHORT] += 1
        try:
            value = record.value
            if isinstance(value, list):  # cells without a header, known by their order
                yield row_in_order(value)
            elif isinstance(value, Mapping):
                yield _train(parts.watched(record), parts)
            else:
                raise BadRowError(f"expected an object, found {shown(value)}")
        except (BadRowError, Dropped) as error:
            parts.leave_out(error)


def row_in_order(texts: list[Any]) -> Row:
    """Return the row of a list ``[query, positive, negative, ...]``.

    Raises:
        BadRowError: there are fewer than two texts, or the query or the positive is empty.
    """
    if len(texts) < 2:
        raise BadRowError("expected a query, a positive, and negatives")
    pos = [text_of(texts[1], "the second text")]
    neg = [text for cell in texts[2:] for text in texts_of(cell, "neg")]  # empty cells give none
    return train_row(texts[0], pos, neg)


COLUMNS = Format(
    name="columns",
    what="columns of a query, a positive, and negatives",
    recognizes=_recognizes,
    train=_read,
)


def _is_cohere(file: RawFile) -> bool:
    return {"query", "relevant_passages"} <= set(file.fields)


COHERE = Format(
    name="cohere",
    what="Cohere's rows of relevant_passages and hard_negatives",
    recognizes=_is_cohere,
    train=_read,
)
