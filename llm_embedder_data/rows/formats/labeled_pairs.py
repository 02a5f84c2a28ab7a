"""Pairs of texts with a label or a score, grouped by their first text.

A label of 1 makes the second text a positive, 0 a negative. Scores need a threshold from the user.
Labels of natural-language inference: entailment is a positive, contradiction a negative; neutral
pairs are left out and counted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from llm_embedder_data.rows.formats.columns import plain
from llm_embedder_data.rows.formats.format import Format, is_text, most_are
from llm_embedder_data.rows.formats.llm_embedder import own_id
from llm_embedder_data.rows.formats.parts import Parts
from llm_embedder_data.rows.formats.texts_or_ids import texts_or_ids
from llm_embedder_data.rows.records.raw_files import RawFile
from llm_embedder_data.rows.schema.canonical_rows import (
    BadRowError,
    Dropped,
    Row,
    shown,
    text_of,
    train_row,
)

PAIRS = (
    ("sentence1", "sentence2"),
    ("sentence_1", "sentence_2"),
    ("text1", "text2"),
    ("text_1", "text_2"),
    ("text", "text_b"),
    ("text_a", "text_b"),
    ("sent1", "sent2"),
    ("sent0", "sent1"),
    ("premise", "hypothesis"),
    ("anchor", "positive"),
    ("query", "positive"),
    ("query", "passage"),
    ("query", "document"),
    ("query", "text"),
    ("question", "passage"),
    ("question", "answer"),
    ("query", "answer"),
    ("query", "response"),
    ("query", "pos"),
)
# query: (positives, negatives, query id), in the order in which they are met
Groups = dict[str, tuple[dict[str, None], dict[str, None], Any]]

LABELS = ("label", "labels", "score", "scores", "similarity", "similarity_score", "gold_label")
_OF_LABELS = {"label", "labels", "gold_label"}
_WORDS: dict[str, bool | None] = {
    "entailment": True,
    "contradiction": False,
    "not_entailment": False,
    "neutral": None,
    "-": None,  # SNLI's pairs without agreement
    "true": True,
    "false": False,
}


def _columns(names: list[str]) -> tuple[str, str, str] | None:
    by_plain = {plain(name): name for name in names}
    label = next((by_plain[name] for name in LABELS if name in by_plain), None)
    for first, second in PAIRS:
        if label is not None and first in by_plain and second in by_plain:
            return by_plain[first], by_plain[second], label
    return None


def _recognizes(file: RawFile) -> bool:
    columns = _columns(list(file.fields))
    if columns is None:
        return False
    names = {plain(name) for name in file.fields}
    if any(name.startswith(("negative", "neg")) for name in names):
        return False  # a triplet or a tuple, whose labels are a teacher's
    if {"query", "pos"} <= names:
        # Rows of positives may say more of themselves: only labels say that pos may be none.
        labels = file.values(columns[2])
        is_pair = most_are(file.values(columns[1]), is_text) and columns[1] in ("pos", "pos ")
        return is_pair and plain(columns[2]) in _OF_LABELS and most_are(labels, _is_label)
    return not any(isinstance(label, list) for label in file.values(columns[2]))


def _is_label(value: Any) -> bool:
    if isinstance(value, str) and value.strip().lower() in _WORDS:
        return True
    return _number(value) in (0, 1)


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return float(value)
    if not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _is_float(value: Any) -> bool:
    return isinstance(value, float) or (isinstance(value, str) and "." in value)


def _is_positive(value: Any, threshold: float | None, asked: str, *, is_score: bool) -> bool | None:
    """Whether a pair's label makes it positive; None where it is neutral.

    Args:
        value: the label or score.
        threshold: of the user.
        asked: the message where a threshold is needed.
        is_score: whether the column is one of scores, of which 1.0 may be one of many.

    Raises:
        BadRowError: it is no label, or a score without a threshold.
    """
    if value is None:
        raise BadRowError("the pair has no label")
    word = value.strip().lower() if isinstance(value, str) else ""
    if word in _WORDS:
        return _WORDS[word]
    number = _number(value)
    if number is None or math.isnan(number):
        raise BadRowError(
            f"label: expected a number or entailment/contradiction, found {shown(value)}"
        )
    if number == -1 and threshold is None:
        return None  # NLI data sets mark pairs without agreement so
    if threshold is not None:
        return number >= threshold
    if number not in (0, 1) or (is_score and _is_float(value)):
        raise BadRowError(asked)
    return number == 1


def _read(parts: Parts) -> Iterator[Row]:
    threshold = parts.options.threshold
    groups: Groups = {}
    means_two: dict[str, bool] = {}
    for record in parts.records():
        try:
            columns = _columns(list(record.value)) if isinstance(record.value, Mapping) else None
            if columns is None:
                raise BadRowError("expected two texts and a label")
            first, second, label = columns
            query = text_of(record.value[first], first)
            text = text_of(record.value[second], second)
            asked = (
                f"{label}={shown(record.value[label])} is a score, and nothing says from which "
                "score on a pair is positive (give threshold: 0.8, or the like)"
            )
            if label not in means_two:
                means_two[label] = _is_nli_number(parts, first, label)
            if threshold is None and means_two[label]:
                raise parts.error(
                    f"{label} holds integers: in NLI files 0 is entailment, in others 0 is no "
                    "match (write the labels as words, or give threshold: 1 where 1 is a match)"
                )
            is_positive = _is_positive(
                record.value[label], threshold, asked, is_score=plain(label) not in _OF_LABELS
            )
            if is_positive is None:
                raise Dropped("neutral pairs")
        except BadRowError as error:
            if "threshold" in str(error):
                raise parts.error(str(error)) from error
            parts.leave_out(error)
            continue
        except Dropped as error:
            parts.leave_out(error)
            continue
        parts.note_query(query)
        group = groups.setdefault(query, ({}, {}, own_id(record.value)))
        group[0 if is_positive else 1][text] = None
    yield from grouped(groups, parts)


def grouped(groups: Groups, parts: Parts) -> Iterator[Row]:
    """One row for each query that has a positive; the others are counted.

    A text that is both is a positive, and counted: of contradictory grades the highest stays.
    """
    for query, (pos, neg, query_id) in groups.items():
        parts.go_to_query(query)
        if not pos:
            parts.count_record("queries without a positive")
            continue
        negatives = [text for text in neg if text not in pos]
        if len(negatives) < len(neg):
            reason = "texts that are positive and negative of one query, kept as positives"
            parts.counts[reason] += len(neg) - len(negatives)
        yield train_row(query, pos, negatives, query_id=query_id)


def _is_nli_number(parts: Parts, first: str, label: str) -> bool:
    """Whether labels are integers that mean two things: 0, 1 and 2, or any of premises."""
    found = {_plain_number(value) for file in parts.files for value in file.values(label)}
    if not found <= {"0", "1", "2", "-1"}:
        return False
    return "2" in found or plain(first) == "premise"


def _plain_number(value: Any) -> str:
    text = shown(value).strip().strip("'").strip()
    return text.removesuffix(".0") if isinstance(value, float) else text


LABELED_PAIRS = Format(
    name="labeled_pairs",
    what="pairs of texts with a label or a score",
    recognizes=_recognizes,
    train=texts_or_ids(_read),
    settings=("threshold",),
)
