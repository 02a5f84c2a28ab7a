"""Tevatron's rows of passages (also MIRACL, Mr.TyDi, Promptriever), and LightRetriever's.

``positive_passages`` and ``negative_passages`` are lists of {docid, title, text}; LightRetriever
adds ``ce_score`` to each, a teacher's score. Promptriever's ``query`` already ends in its
instruction; ``only_query`` and ``instruction`` have the two apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm_embedder_data.rows.formats.format import Format, each
from llm_embedder_data.rows.formats.judgments import relevant_row
from llm_embedder_data.rows.formats.llm_embedder import own_id
from llm_embedder_data.rows.formats.parts import Parts
from llm_embedder_data.rows.records.raw_files import RawFile
from llm_embedder_data.rows.schema.canonical_rows import (
    BadRowError,
    Dropped,
    Row,
    document_id,
    scores_of,
    shown,
    titled,
    train_row,
)
from llm_embedder_data.rows.schema.identified_texts import with_id

_NO_TITLE = ("-",)
_DOCUMENT = ("docid", "doc_id", "passage_id", "psg_id", "_id", "id")


def passages_of(
    value: Any, field: str, no_title: tuple[str, ...] = (), *, keeps_ids: bool = False
) -> list[str]:
    """The texts of a list of passages, each {title?, text} or a string.

    Args:
        value: the list.
        field: for messages.
        no_title: titles that stand for none.
        keeps_ids: whether the texts know the passages' ids.

    Raises:
        BadRowError: a value of another type, or a passage without text.
    """
    if isinstance(value, str | Mapping):
        value = [value]
    if value is None:
        return []
    if not isinstance(value, list):
        raise BadRowError(f"{field}: expected a list of passages, found {shown(value)}")
    texts = []
    for number, passage in enumerate(value):
        where = f"{field}[{number}]"
        if isinstance(passage, str):
            passage = {"text": passage}
        if not isinstance(passage, Mapping):
            raise BadRowError(f"{where}: expected a passage, found {shown(passage)}")
        text = titled(passage.get("title"), passage.get("text"), where, no_title=no_title)
        texts.append(with_id(text, _id_of(passage)) if keeps_ids else text)
    return texts


def passage_ids_of(value: Any, field: str) -> list[str]:
    """The ids of a list of passages, each once.

    Raises:
        BadRowError: a passage has no id.
    """
    found: dict[str, None] = {}
    for number, passage in enumerate(value if isinstance(value, list) else []):
        where = f"{field}[{number}]"
        if not isinstance(passage, Mapping):
            raise BadRowError(f"{where}: expected a passage with an id, found {shown(passage)}")
        found[document_id(_id_of(passage), where)] = None
    return list(found)


def _id_of(passage: Mapping[str, Any]) -> Any:
    return next((passage[name] for name in _DOCUMENT if passage.get(name) is not None), None)


def _recognizes(file: RawFile) -> bool:
    return "positive_passages" in file.fields and "query" in file.fields


def _has_scores(file: RawFile) -> bool:
    lists = file.values("positive_passages") + file.values("negative_passages")
    return _recognizes(file) and any(
        isinstance(passage, Mapping) and "ce_score" in passage
        for passages in lists
        if isinstance(passages, list)
        for passage in passages
    )


def _scores(record: Mapping[str, Any], n_candidates: int, parts: Parts) -> list[float] | None:
    given = [
        passage.get("ce_score") if isinstance(passage, Mapping) else None
        for name in ("positive_passages", "negative_passages")
        for passage in record.get(name) or ()
    ]
    if all(score is None for score in given):
        return None
    return parts.without_scores(True, scores_of((given, n_candidates)))


def _query(record: Mapping[str, Any]) -> tuple[Any, str | None]:
    """The query and its instruction, apart where the row has both."""
    query, instruction = record.get("query"), record.get("instruction")
    if instruction is not None and not isinstance(instruction, str):
        raise BadRowError(f"instruction: expected a string, found {shown(instruction)}")
    if not instruction:
        return record.get(
            "only_query"
        ) or query, instruction if "only_query" not in record else None
    if record.get("only_query"):
        return record["only_query"], instruction
    if isinstance(query, str) and instruction in query and query != instruction:
        return query, None  # Promptriever: the query holds it already
    return query, instruction


def _train(record: Mapping[str, Any], parts: Parts) -> Row:
    pos, neg = (
        passages_of(record.get(name), name, _NO_TITLE, keeps_ids=parts.keeps_ids)
        for name in ("positive_passages", "negative_passages")
    )
    if not pos:
        raise Dropped("rows without a positive")
    query, instruction = _query(record)
    return train_row(
        query,
        pos,
        neg,
        scores=_scores(record, len(pos) + len(neg), parts),
        query_id=own_id(record),
        query_instruction=instruction,
    )


def _eval(record: Mapping[str, Any], parts: Parts) -> Row:
    query, instruction = _query(record)
    ids = passage_ids_of(record.get("positive_passages"), "positive_passages")
    row = relevant_row(query, own_id(record), ids, parts)
    if instruction is not None:
        row["instruction"] = {"query": instruction, "key": None}
    return row


TEVATRON = Format(
    name="tevatron",
    what="Tevatron's rows of positive_passages and negative_passages",
    recognizes=_recognizes,
    train=each(_train),
    eval=each(_eval),
)
LIGHTRETRIEVER = Format(
    name="lightretriever",
    what="LightRetriever's rows of passages with ce_score",
    recognizes=_has_scores,
    train=each(_train),
    eval=each(_eval),
)
