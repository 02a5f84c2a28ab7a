"""Columns as sentence-transformers' data sets have them: an anchor, a positive, negatives.

An n-tuple's ``scores`` are a teacher's, of the positive and then the negatives. Old FlagEmbedding
eval files (query and a ``positive`` list), pairs of question and answer, (query, response,
rejected_response), and Cohere's relevant_passages are of the same shape.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from llm_embedder_data.rows.formats.format import Format
from llm_embedder_data.rows.formats.llm_embedder import own_id
from llm_embedder_data.rows.formats.parts import Parts
from llm_embedder_data.rows.formats.passage_ids import Sides, id_and_query, pos_and_neg
from llm_embedder_data.rows.formats.short_texts import are_short
from llm_embedder_data.rows.records.raw_files import RawFile
from llm_embedder_data.rows.schema.canonical_rows import (
    BadRowError,
    Dropped,
    Row,
    shown,
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


def _number(numbered: tuple[str, str]) -> tuple[int, str]:
    return len(numbered[0]), numbered[0]  # digits of one length sort as numbers do


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
        (found[2].lstrip("0"), by_plain[name])
        for name in by_plain
        if (found := _NEGATIVE.fullmatch(name))
    ]
    single = [by_plain[name] for name in (*NEGATIVES, *REJECTED) if name in by_plain]
    return query, positive, [*single, *(name for _, name in sorted(numbered, key=_number))]


def _recognizes(file: RawFile) -> bool:
    query, positive, _ = sides(list(file.fields))
    return query is not None and positive is not None


def _train(record: Mapping[str, Any], parts: Parts) -> Row:
    query, positive, negatives = sides(list(record))
    if query is None or positive is None:
        names = ", ".join(name[:40] for name in list(record)[:20])
        raise BadRowError(f"no query and positive among its columns ({names})")
    found = pos_and_neg(record, parts, positive, negatives)
    if not found.pos:
        raise Dropped("rows without a positive")
    query_id, text = id_and_query(
        record, parts, query, own_id(record), names_ids=found.kept is not None
    )
    return train_row(
        text,
        found.pos,
        found.neg,
        scores=_scores(record, found, parts),
        query_id=query_id,
        task=record.get("task"),
    )


def _scores(record: Mapping[str, Any], found: Sides, parts: Parts) -> list[float] | None:
    """A teacher's scores, where a row has one for each text; other labels are counted."""
    by_plain = {plain(name): name for name in record}
    labels = [by_plain[name] for name in (*SCORES, *LABELS) if name in by_plain]
    for name in labels:
        given = record[name]
        if given is None:
            continue
        if isinstance(given, list) and len(given) == found.n_given > 1:
            return parts.without_scores(True, found.scores(given))
        parts.counts[f"rows whose {name} is not read (no score for each text)"] += 1
    return None


_SHORT = "rows whose answers look like no passages (the median has under 5 words)"


def _has_short_answers(file: RawFile) -> bool:
    """Whether positives are answers of few words, which look like no passages."""
    _, positive, _ = sides(list(file.fields))
    is_answer = positive is not None and plain(positive) in ("answer", "answers")
    return is_answer and are_short(file.values(positive or ""))


def _read(parts: Parts) -> Iterator[Row]:
    short = {file.path for file in parts.files if _has_short_answers(file)}
    for record in parts.records():
        if parts.at is not None and parts.at[0] in short:
            parts.counts[_SHORT] += 1
        try:
            value = record.value
            if isinstance(value, list):  # cells without header: their order says what they are
                yield row_in_order(value)
            elif isinstance(value, Mapping):
                yield _train(parts.watched(record), parts)
            else:
                raise BadRowError(f"expected an object, found {shown(value)}")
        except (BadRowError, Dropped) as error:
            parts.leave_out(error)


def row_in_order(texts: list[Any]) -> Row:
    """The row of a query, a positive, and negatives in this order.

    Raises:
        BadRowError: there are fewer than two, or a query or positive that is empty.
    """
    if len(texts) < 2:
        raise BadRowError("expected a query, a positive, and negatives")
    pos = [text_of(texts[1], "the second text")]
    return train_row(texts[0], pos, [text for one in texts[2:] for text in texts_of(one, "neg")])


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
