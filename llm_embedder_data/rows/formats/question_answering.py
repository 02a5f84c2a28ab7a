"""Rows of HotpotQA, MuSiQue and SQuAD: questions with the passages that answer them.

HotpotQA names the paragraphs that support the answer by their titles; the other paragraphs are
negatives. It is known by ``question``, ``context`` and ``supporting_facts``::

    {"_id": "5a", "question": "what causes tides", "supporting_facts": [["Tides", 0]],
     "context": [["Tides", ["Tides follow the moon."]], ["Rain", ["Rain falls from clouds."]]]}

MuSiQue marks each paragraph. It is known by ``question`` and ``is_supporting`` in ``paragraphs``::

    {"id": "2h", "question": "what causes tides", "paragraphs": [
     {"title": "Tides", "paragraph_text": "Tides follow the moon.", "is_supporting": true}]}

SQuAD has questions below their passage and no negatives. It is known by its nested object, or in
the Hub's version, a row for each question, by ``question``, a string ``context`` and ``answers``::

    {"data": [{"title": "Tides", "paragraphs": [{"context": "Tides follow the moon.",
     "qas": [{"id": "56", "question": "what causes tides", "answers": [{"text": "the moon"}]}]}]}]}
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from llm_embedder_data.core.shown_values import shown
from llm_embedder_data.rows.formats.format import Format, each_record
from llm_embedder_data.rows.formats.parts import Parts
from llm_embedder_data.rows.formats.passage_texts import PassageTexts
from llm_embedder_data.rows.records.raw_files import RawFile
from llm_embedder_data.rows.schema.canonical_rows import (
    BadRowError,
    Dropped,
    Row,
    eval_row,
    titled,
    train_row,
)

_BLANKS = re.compile(r"\s+")


def _is_hotpotqa(file: RawFile) -> bool:
    return {"question", "context", "supporting_facts"} <= set(file.fields)


def _hotpotqa(record: Mapping[str, Any], parts: Parts) -> Row:
    paragraphs: dict[str, dict[str, None]] = {}  # texts by title
    for title, sentences in _pairs(record.get("context"), "context", "sentences"):
        if not isinstance(title, str):
            raise BadRowError(f"context: expected a title, found {shown(title)}")
        joined = "".join(_sentences(sentences))
        text = titled(title, _BLANKS.sub(" ", joined).strip(), "context")
        paragraphs.setdefault(title, {})[text] = None
    facts = _pairs(record.get("supporting_facts"), "supporting_facts", "sent_id")
    named = {title: None for title, _ in facts if isinstance(title, str)}
    missing = sum(title not in paragraphs for title in named)
    if missing:
        parts.counts["supporting titles that the context does not have"] += missing
    pos = {text: None for title in named for text in paragraphs.get(title, ())}
    if not pos:
        raise Dropped("rows without a positive")
    neg = {
        text: None for title, texts in paragraphs.items() if title not in named for text in texts
    }
    query_id = record.get("_id", record.get("id"))
    return train_row(record.get("question"), pos, neg, query_id=query_id)


def _sentences(value: Any) -> list[str]:
    """Return the sentences of a paragraph; each brings its own blanks, so joining adds none."""
    sentences = [value] if isinstance(value, str) else value
    if not isinstance(sentences, list) or not all(isinstance(text, str) for text in sentences):
        raise BadRowError(f"context: expected a list of sentences, found {shown(value)}")
    return sentences


def _pairs(value: Any, field: str, second: str) -> list[tuple[Any, Any]]:
    """Return a list of (title, value) pairs.

    Args:
        value: ``[[title, value], ...]``, or the Hub's form ``{"title": [...], second: [...]}``.
        field: name of the column, for messages.
        second: name of the list of values in the Hub's form.
    """
    if isinstance(value, Mapping):
        titles, others = value.get("title"), value.get(second)
        if isinstance(titles, list) and isinstance(others, list) and len(titles) == len(others):
            return list(zip(titles, others, strict=True))
    elif isinstance(value, list) and all(
        isinstance(pair, list | tuple) and len(pair) == 2 for pair in value
    ):
        return [(pair[0], pair[1]) for pair in value]
    raise BadRowError(f"{field}: expected a list of [title, ...]")


HOTPOTQA = Format(
    name="hotpotqa",
    what="HotpotQA's rows of context and supporting_facts",
    recognizes=_is_hotpotqa,
    train=each_record(_hotpotqa),
)


def _is_musique(file: RawFile) -> bool:
    return "question" in file.fields and any(
        isinstance(paragraphs, list)
        and any(
            isinstance(paragraph, Mapping) and "is_supporting" in paragraph
            for paragraph in paragraphs
        )
        for paragraphs in file.values("paragraphs")
    )


def _musique(record: Mapping[str, Any], parts: Parts) -> Row:
    pos: dict[str, None] = {}
    neg: dict[str, None] = {}
    paragraphs = record.get("paragraphs")
    if not isinstance(paragraphs, list):
        raise BadRowError(f"paragraphs: expected a list, found {shown(paragraphs)}")
    for paragraph in paragraphs:
        if not isinstance(paragraph, Mapping):
            raise BadRowError("paragraphs: expected objects of title and text")
        text = paragraph.get("text", paragraph.get("paragraph_text"))
        text = titled(paragraph.get("title"), text, "paragraphs")
        (pos if paragraph.get("is_supporting") else neg)[text] = None
    if not pos:
        raise Dropped("rows without a positive")
    return train_row(record.get("question"), pos, neg, query_id=record.get("id"))


MUSIQUE = Format(
    name="musique",
    what="MuSiQue's rows of paragraphs with is_supporting",
    recognizes=_is_musique,
    train=each_record(_musique),
)


def _is_squad(file: RawFile) -> bool:
    data = file.values("data")
    is_nested = bool(data) and all(
        isinstance(articles, list)
        and articles
        and isinstance(articles[0], Mapping)
        and "paragraphs" in articles[0]
        for articles in data
    )
    contexts = file.values("context")
    names = set(file.fields)
    is_flat = {"question", "context"} <= names and bool(names & {"answers", "answer"})
    is_text = bool(contexts) and all(isinstance(context, str) for context in contexts)
    return is_nested or (is_flat and is_text)


def _questions(parts: Parts) -> Iterator[tuple[str, Any]]:
    """Yield (passage, question) for each question, and (passage, None) once for each paragraph.

    A paragraph may have no question, and its passage belongs to the corpus nevertheless.
    """
    for record in parts.records():
        try:
            value = record.value
            if not isinstance(value, Mapping):
                raise BadRowError(f"expected an object, found {shown(value)}")
            if "data" not in value:
                yield titled(value.get("title"), value.get("context"), "context"), value
                continue
            for article in _listed(value, "data"):
                for paragraph in _listed(article, "paragraphs"):
                    text = titled(article.get("title"), paragraph.get("context"), "context")
                    yield text, None
                    for question in _listed(paragraph, "qas"):
                        yield text, question
        except BadRowError as error:
            parts.leave_out(error)


def _listed(value: Any, field: str) -> list[Mapping[str, Any]]:
    found = value.get(field) or []
    if not isinstance(found, list) or not all(isinstance(entry, Mapping) for entry in found):
        raise BadRowError(f"{field}: expected a list of objects, found {shown(found)}")
    return found


def _answered(parts: Parts) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield (passage, question) for each question with an answer; other questions are counted."""
    for text, question in _questions(parts):
        if question is None:
            continue
        answers = question.get("answers")
        texts = answers.get("text") if isinstance(answers, Mapping) else answers
        if question.get("is_impossible") or (texts is not None and not texts):
            parts.count_record("questions without an answer")
            continue
        yield text, question


def _squad(parts: Parts) -> Iterator[Row]:
    for text, question in _answered(parts):
        try:
            yield train_row(question.get("question"), [text], query_id=question.get("id"))
        except BadRowError as error:
            parts.leave_out(error)


def _squad_eval(parts: Parts) -> Iterator[Row]:
    numbers = {text: str(number) for number, text in enumerate(_squad_passages(parts))}
    for text, question in _answered(parts):
        try:
            yield eval_row(question.get("question"), question.get("id"), {numbers[text]: 1})
        except BadRowError as error:
            parts.leave_out(error)


def _squad_corpus(parts: Parts) -> Iterator[Row]:
    """Yield each passage once, with its number in the order of the file as its id."""
    passages = PassageTexts(parts)
    for number, text in enumerate(_squad_passages(parts)):
        yield passages.row({"id": number, "text": text})
    passages.check_fields()


def _squad_passages(parts: Parts) -> Iterable[str]:
    return dict.fromkeys(text for text, _ in _questions(parts))


SQUAD = Format(
    name="squad",
    what="SQuAD's data[].paragraphs[].qas",
    recognizes=_is_squad,
    train=_squad,
    eval=_squad_eval,
    corpus=_squad_corpus,
)
