"""Pairs of texts with a label or a score, as in many datasets of the sentence-transformers project.

A record::

    {"sentence1": "what causes tides", "sentence2": "Tides follow the moon.", "label": 1}

A file is known by two columns of PAIRS and one of LABELS, in any letter case. The first text is the
query; pairs with the same query become one row. The second text is a positive if the label is 1,
and a negative if it is 0. Scores need a threshold from the user. In natural-language inference,
``entailment`` makes a positive and ``contradiction`` a negative; neutral pairs are left out and
counted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from llm_embedder_data.core.shown_values import shown
from llm_embedder_data.rows.formats.columns import plain_name
from llm_embedder_data.rows.formats.format import Format, is_text, most_are
from llm_embedder_data.rows.formats.llm_embedder import query_id_in
from llm_embedder_data.rows.formats.parts import NeedsSettingError, Parts
from llm_embedder_data.rows.formats.texts_or_ids import texts_or_ids
from llm_embedder_data.rows.records.raw_files import RawFile
from llm_embedder_data.rows.schema.canonical_rows import (
    BadRowError,
    Dropped,
    Row,
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
# {query: (positives, negatives, query id)}, in the order of the file; a dict serves as ordered set.
Groups = dict[str, tuple[dict[str, None], dict[str, None], Any]]

LABELS = ("label", "labels", "score", "scores", "similarity", "similarity_score", "gold_label")
_LABELS_NOT_SCORES = {"label", "labels", "gold_label"}
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
    by_plain = {plain_name(name): name for name in names}
    label = next((by_plain[name] for name in LABELS if name in by_plain), None)
    for first, second in PAIRS:
        if label is not None and first in by_plain and second in by_plain:
            return by_plain[first], by_plain[second], label
    return None


def _recognizes(file: RawFile) -> bool:
    columns = _columns(list(file.fields))
    if columns is None:
        return False
    names = {plain_name(name) for name in file.fields}
    if any(name.startswith(("negative", "neg")) for name in names):
        return False  # a triplet or a longer tuple, whose labels are teacher scores
    if {"query", "pos"} <= names:
        # Other formats have these columns too. Only a label says that a pos may be a negative.
        labels = file.values(columns[2])
        is_pair = most_are(file.values(columns[1]), is_text) and plain_name(columns[1]) == "pos"
        return (
            is_pair and plain_name(columns[2]) in _LABELS_NOT_SCORES and most_are(labels, _is_label)
        )
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


def needs_threshold(column: str, value: Any) -> NeedsSettingError:
    """Return the error for a score without a threshold that says which scores are positive.

    Args:
        column: name of the column of labels.
        value: the score.
    """
    return NeedsSettingError(
        f"{column}={shown(value)} is a score, and nothing says from which score on a pair is "
        "positive (give threshold: 0.8, or the like)"
    )


def _is_positive(value: Any, threshold: float | None, column: str) -> bool | None:
    """Return whether a pair's label makes it positive; None if it is neutral.

    Args:
        value: the label or score.
        threshold: the threshold that the user gives, or None.
        column: name of the value's column. In a column named as one of scores, 1.0 may be one score
            of many and not a label.

    Raises:
        BadRowError: the value is no label; or it is a score, and the user gives no threshold.
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
        return None  # the label of pairs in NLI datasets on which the annotators did not agree
    if threshold is not None:
        return number >= threshold
    is_score = plain_name(column) not in _LABELS_NOT_SCORES
    if number not in (0, 1) or (is_score and _is_float(value)):
        raise needs_threshold(column, value)
    return number == 1


def _read(parts: Parts) -> Iterator[Row]:
    threshold = parts.options.threshold
    groups: Groups = {}
    is_ambiguous: dict[str, bool] = {}
    for record in parts.records():
        try:
            columns = _columns(list(record.value)) if isinstance(record.value, Mapping) else None
            if columns is None:
                raise BadRowError("expected two texts and a label")
            first, second, label = columns
            query = text_of(record.value[first], first)
            text = text_of(record.value[second], second)
            if label not in is_ambiguous:
                is_ambiguous[label] = _may_be_nli_numbers(parts, first, label)
            if threshold is None and is_ambiguous[label]:
                raise NeedsSettingError(
                    f"{label} holds integers: in NLI files 0 is entailment, in others 0 is no "
                    "match (write the labels as words, or give threshold: 1 where 1 is a match)"
                )
            is_positive = _is_positive(record.value[label], threshold, label)
            if is_positive is None:
                raise Dropped("neutral pairs")
        except (BadRowError, Dropped) as error:
            parts.leave_out(error)
            continue
        parts.note_query(query)
        group = groups.setdefault(query, ({}, {}, query_id_in(record.value)))
        group[0 if is_positive else 1][text] = None
    yield from _rows_of(groups, parts)


def _rows_of(groups: Groups, parts: Parts) -> Iterator[Row]:
    """Yield a row for each query that has a positive; other queries are counted.

    A text that is both positive and negative of a query is kept as a positive, and counted.
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


def _may_be_nli_numbers(parts: Parts, first: str, label: str) -> bool:
    """Return whether labels are integers that may be NLI's, where 0 means entailment.

    They may be if 2 is among them, or if the first text is a premise.
    """
    found = {_digits(value) for file in parts.files for value in file.values(label)}
    if not found <= {"0", "1", "2", "-1"}:
        return False
    return "2" in found or plain_name(first) == "premise"


def _digits(value: Any) -> str:
    """Return the digits of a whole number that may be a text or a float; other values as text."""
    text = shown(value).strip().strip("'").strip()
    return text.removesuffix(".0") if isinstance(value, float) else text


LABELED_PAIRS = Format(
    name="labeled_pairs",
    what="pairs of texts with a label or a score",
    recognizes=_recognizes,
    train=texts_or_ids(_read),
    settings=("threshold",),
)
