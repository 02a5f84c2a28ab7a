"""Reading-comprehension data whose passages are marked: HotpotQA, MuSiQue, SQuAD."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from llm_embedder_data.rows.canonical_rows import (
    BadRowError,
    Dropped,
    Row,
    corpus_row,
    titled,
    train_row,
)
from llm_embedder_data.rows.formats.format import Format, Parts, each
from llm_embedder_data.rows.raw_files import RawFile

_BLANKS = re.compile(r"\s+")


def _is_hotpotqa(file: RawFile) -> bool:
    return {"question", "context", "supporting_facts"} <= set(file.fields)


def _hotpotqa(record: Mapping[str, Any], parts: Parts) -> Row:
    paragraphs: dict[str, str] = {}
    for title, sentences in _pairs(record.get("context"), "context", "sentences"):
        joined = "".join(sentences) if isinstance(sentences, list) else str(sentences)
        text = _BLANKS.sub(" ", joined).strip()
        paragraphs.setdefault(str(title), titled(str(title), text, "context"))
    facts = _pairs(record.get("supporting_facts"), "supporting_facts", "sent_id")
    named = dict.fromkeys(str(title) for title, _ in facts)
    missing = [title for title in named if title not in paragraphs]
    if missing:
        parts.counts["supporting titles that the context does not have"] += len(missing)
    pos = [paragraphs[title] for title in named if title in paragraphs]
    if not pos:
        raise Dropped("rows without a positive")
    neg = [text for title, text in paragraphs.items() if title not in named]
    return train_row(
        record.get("question"),
        dict.fromkeys(pos),
        dict.fromkeys(neg),
        query_id=record.get("_id", record.get("id")),
    )


def _pairs(value: Any, field: str, second: str) -> list[tuple[Any, Any]]:
    """[[title, x], ...], or {"title": [...], x: [...]} as the Hub's tables have it."""
    if isinstance(value, Mapping):
        titles, others = value.get("title"), value.get(second)
        if isinstance(titles, list) and isinstance(others, list) and len(titles) == len(others):
            return list(zip(titles, others, strict=True))
    elif isinstance(value, list) and all(
        isinstance(one, list | tuple) and len(one) == 2 for one in value
    ):
        return [(one[0], one[1]) for one in value]
    raise BadRowError(f"{field}: expected a list of [title, ...]")


HOTPOTQA = Format(
    name="hotpotqa",
    what="HotpotQA's rows of context and supporting_facts",
    recognizes=_is_hotpotqa,
    train=each(_hotpotqa),
)


def _is_musique(file: RawFile) -> bool:
    return "question" in file.fields and any(
        isinstance(paragraphs, list)
        and any(isinstance(one, Mapping) and "is_supporting" in one for one in paragraphs)
        for paragraphs in file.values("paragraphs")
    )


def _musique(record: Mapping[str, Any], parts: Parts) -> Row:
    pos, neg = [], []
    for paragraph in record.get("paragraphs") or ():
        if not isinstance(paragraph, Mapping):
            raise BadRowError("paragraphs: expected objects of title and text")
        text = paragraph.get("text", paragraph.get("paragraph_text"))
        text = titled(paragraph.get("title"), text, "paragraphs")
        (pos if paragraph.get("is_supporting") else neg).append(text)
    if not pos:
        raise Dropped("rows without a positive")
    return train_row(record.get("question"), pos, neg, query_id=record.get("id"))


MUSIQUE = Format(
    name="musique",
    what="MuSiQue's rows of paragraphs with is_supporting",
    recognizes=_is_musique,
    train=each(_musique),
)


def _is_squad(file: RawFile) -> bool:
    data = file.values("data")
    return bool(data) and all(
        isinstance(one, list) and one and isinstance(one[0], Mapping) and "paragraphs" in one[0]
        for one in data
    )


def _paragraphs(parts: Parts) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for record in parts.records():
        if not isinstance(record.value, Mapping) or not isinstance(record.value.get("data"), list):
            raise parts.error("expected an object of data[].paragraphs[]")
        for article in record.value["data"]:
            for paragraph in article.get("paragraphs") or ():
                yield titled(article.get("title"), paragraph.get("context"), "context"), paragraph


def _squad(parts: Parts) -> Iterator[Row]:
    for text, paragraph in _paragraphs(parts):
        for question in paragraph.get("qas") or ():
            if question.get("is_impossible"):
                parts.counts["questions without an answer"] += 1
                continue
            yield train_row(question.get("question"), [text], query_id=question.get("id"))


def _squad_corpus(parts: Parts) -> Iterator[Row]:
    for number, text in enumerate(dict.fromkeys(text for text, _ in _paragraphs(parts))):
        yield corpus_row(number, text)


SQUAD = Format(
    name="squad",
    what="SQuAD's data[].paragraphs[].qas",
    recognizes=_is_squad,
    train=_squad,
    corpus=_squad_corpus,
)
