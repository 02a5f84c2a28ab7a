"""Pairs of texts with a label or a score, as in many datasets of the sentence-transformers project.

A record::

    {"sentence1": "what causes tides", "sentence2": "Tides follow the moon.", "label": 1}

A file is known by two columns of PAIRS and one of LABELS, in any letter case; or, like Quora's on
the Hub, by ``questions`` with two texts and a label. The first text is the query; pairs with the
same query (and the same task and instruction, if they name some) become one row. The second text is
a positive if the label is 1, and a negative if it is 0. Scores need a threshold from the user.

Labels may be words, or numbers with the names of classes, as a ``ClassLabel`` of Hugging Face
datasets has: ``entailment`` or ``duplicate`` makes a positive, ``contradiction`` or
``not_duplicate`` a negative. Neutral pairs and pairs without a label are left out and counted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from llm_embedder_data.core.shown_values import shown
from llm_embedder_data.rows.files.class_names import NamedClass
from llm_embedder_data.rows.formats.columns import plain_name
from llm_embedder_data.rows.formats.format import Format, is_text, most_are
from llm_embedder_data.rows.formats.label_words import Verdict, verdict_of
from llm_embedder_data.rows.formats.llm_embedder import query_id_in
from llm_embedder_data.rows.formats.parts import NeedsSettingError, Parts
from llm_embedder_data.rows.formats.texts_or_ids import texts_or_ids
from llm_embedder_data.rows.records.raw_files import RawFile, RawRecord
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
    ("sentence_a", "sentence_b"),
    ("question1", "question2"),
    ("question_1", "question_2"),
    ("premise", "hypothesis"),
    ("claim", "evidence"),
    ("anchor", "positive"),
    ("query", "positive"),
    ("query", "passage"),
    ("query", "document"),
    ("query", "text"),
    ("question", "passage"),
    ("question", "answer"),
    ("question", "sentence"),
    ("query", "answer"),
    ("query", "response"),
    ("query", "pos"),
)
# The columns of SNLI and MNLI, QNLI and FEVER, whose integer 0 means a match.
_INFERENCE_PAIRS = {("premise", "hypothesis"), ("question", "sentence"), ("claim", "evidence")}
# {(query, values of other fields): (positives, negatives, query id)}, in the order of the file; a
# dict serves as ordered set.
Groups = dict[tuple[str, str | None], tuple[dict[str, None], dict[str, None], Any]]

_NAMED_LABELS = (
    *("label", "labels", "gold_label", "is_duplicate", "is_paraphrase", "entailment_label"),
    "entailment_judgment",
)
_SCORES = ("score", "scores", "similarity", "similarity_score")
LABELS = (*_NAMED_LABELS[:2], *_SCORES, *_NAMED_LABELS[2:])


def _columns(names: list[str]) -> tuple[str, str, str] | None:
    by_plain = {plain_name(name): name for name in names}
    label = next((by_plain[name] for name in LABELS if name in by_plain), None)
    for first, second in PAIRS:
        if label is not None and first in by_plain and second in by_plain:
            return by_plain[first], by_plain[second], label
    return None


def _recognizes(file: RawFile) -> bool:
    heads = [_flat(value) for value in file.head if isinstance(value, Mapping)]
    fields = list({name: None for head in heads for name in head})
    columns = _columns(fields)
    if columns is None:
        return False
    names = set(map(plain_name, fields))
    if any(name.startswith(("negative", "neg")) for name in names):
        return False  # a triplet or a longer tuple, whose labels are teacher scores
    _, second, label = columns
    seconds = [head[second] for head in heads if head.get(second) is not None]
    labels = [head[label] for head in heads if head.get(label) is not None]
    if {"query", "pos"} <= names:
        # Other formats have these columns too. Only a label says that a pos may be a negative.
        is_pair = most_are(seconds, is_text) and plain_name(second) == "pos"
        return is_pair and plain_name(label) in _NAMED_LABELS and most_are(labels, _is_label)
    return not any(isinstance(value, list) for value in labels)


def _flat(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a record of Quora's on the Hub with its two questions as columns.

    ``questions`` is a list of two texts or of two structs, or a struct of lists ``text`` and
    ``id``. Other records are returned as they are.
    """
    questions: Any = record.get("questions")
    ids: Any = None
    if isinstance(questions, Mapping):
        questions, ids = questions.get("text"), questions.get("id")
    if not isinstance(questions, list | tuple) or len(questions) != 2:
        return record
    structs = [question for question in questions if isinstance(question, Mapping)]
    if len(structs) == 2:
        ids = [question.get("id") for question in structs]
        questions = [question.get("text") for question in structs]
    found = {**record, "question1": questions[0], "question2": questions[1]}
    del found["questions"]
    return found | ({"qid1": ids[0]} if isinstance(ids, list) and ids else {})


def _is_label(value: Any) -> bool:
    return verdict_of(value) is not None or _number(value) in (0, 1)


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


def _verdict(value: Any, threshold: float | None, column: str) -> Verdict:
    """Return what a pair's label says.

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
    is_class = isinstance(value, NamedClass)
    found = verdict_of(value)
    if found is not None and not (is_class and threshold is not None):
        return found
    number = _number(value)
    if number is None or math.isnan(number):
        raise BadRowError(
            f"label: expected a number or entailment/contradiction, found {shown(value)}"
        )
    if number == -1 and threshold is None:
        return Verdict.NO_LABEL
    if threshold is not None:
        return Verdict.MATCH if number >= threshold else Verdict.NO_MATCH
    if is_class and _number(value.name) is None:
        raise NeedsSettingError(
            f"{column} holds {shown(value)}, and nothing says whether this class is a match (give "
            "threshold: 1 where classes from 1 on are matches, or name the classes entailment, "
            "neutral and contradiction, or duplicate and not_duplicate)"
        )
    is_score = plain_name(column) not in _NAMED_LABELS
    if number not in (0, 1) or (is_score and _is_float(value)):
        raise needs_threshold(column, value)
    return Verdict.MATCH if number == 1 else Verdict.NO_MATCH


def _read(parts: Parts) -> Iterator[Row]:
    threshold = parts.options.threshold
    groups: Groups = {}
    question: dict[str, str | None] = {}
    for record in parts.records():
        try:
            flat = _flat(record.value) if isinstance(record.value, Mapping) else {}
            columns = _columns(list(flat))
            if columns is None:
                raise BadRowError("expected two texts and a label")
            value = parts.watched(RawRecord(flat, record.row, record.line))
            first, second, label = columns
            query = text_of(value[first], first)
            text = text_of(value[second], second)
            if label not in question:
                question[label] = _question(parts, (first, second), label)
            if threshold is None and (asked := question[label]) is not None:
                raise NeedsSettingError(asked)
            verdict = _verdict(value[label], threshold, label)
            if verdict in (Verdict.NEUTRAL, Verdict.NO_LABEL):
                raise Dropped(verdict.value)
        except (BadRowError, Dropped) as error:
            parts.leave_out(error)
            continue
        key = query, parts.own_key()
        parts.note_query(key)
        group = groups.setdefault(key, ({}, {}, _query_id(value)))
        group[0 if verdict is Verdict.MATCH else 1][text] = None
    yield from _rows_of(groups, parts)


def _query_id(record: Mapping[str, Any]) -> Any:
    """Return the id of a pair's first text: in Quora's files ``qid1``, as ``id`` is the pair's."""
    first = record.get("qid1")
    return query_id_in(record) if first is None else first


def _rows_of(groups: Groups, parts: Parts) -> Iterator[Row]:
    """Yield a row for each query that has a positive; other queries are counted.

    A text that is both positive and negative of a query is kept as a positive, and counted.
    """
    for key, (pos, neg, query_id) in groups.items():
        parts.go_to_query(key)
        if not pos:
            parts.count_record("queries without a positive")
            continue
        negatives = [text for text in neg if text not in pos]
        if len(negatives) < len(neg):
            reason = "texts that are positive and negative of one query, kept as positives"
            parts.counts[reason] += len(neg) - len(negatives)
        yield train_row(key[0], pos, negatives, query_id=query_id)


def _question(parts: Parts, pair: tuple[str, str], label: str) -> str | None:
    """Return what to ask about integers that may mean one thing or another; None if they do not.

    Integers may be NLI's, where 0 means entailment, if 2 is among them, or if the columns are those
    of an NLI file. If there are only 1 and -1, then -1 may mean no match, or that there is no
    label.
    """
    heads = [_flat(head) for file in parts.files for head in file.head if isinstance(head, Mapping)]
    values = [head[label] for head in heads if head.get(label) is not None]
    if any(isinstance(value, NamedClass) for value in values):
        return None
    found = {_digits(value) for value in values}
    if found == {"1", "-1"}:
        return (
            f"{label} holds 1 and -1, and -1 may mean no match, or that a pair has no label (give "
            "threshold: 1 where it means no match, or take the pairs without a label out)"
        )
    is_nli = "2" in found or tuple(map(plain_name, pair)) in _INFERENCE_PAIRS
    if not is_nli or not found <= {"0", "1", "2", "-1"}:
        return None
    return (
        f"{label} holds integers whose meaning is not written: in NLI files 0 is entailment, 1 "
        "neutral and 2 contradiction; in others 0 is no match, and 1 is a match (where 0 is "
        "entailment, write the labels as words, or give a Dataset or a Parquet file whose "
        "ClassLabel names them; where 1 is a match, give threshold: 1, which makes labels from 1 "
        "on positives and 0 a negative)"
    )


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
