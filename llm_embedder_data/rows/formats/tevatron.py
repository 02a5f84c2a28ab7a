"""Tevatron's rows of passages, also those of MIRACL, Mr.TyDi, Promptriever and LightRetriever.

A record::

    {"query_id": "17", "query": "what causes tides",
     "positive_passages": [{"docid": "482", "title": "Tides", "text": "Tides follow the moon."}],
     "negative_passages": [{"docid": "90", "title": "-", "text": "Rain falls from clouds."}]}

A file is known by ``query`` and ``positive_passages``. A title of ``-`` stands for none.
LightRetriever adds ``ce_score``, a teacher score, to each passage, by which its files are known.
Promptriever's ``query`` ends in its instruction, and ``only_query`` and ``instruction`` hold the
two separately.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm_embedder_data.core.shown_values import shown
from llm_embedder_data.rows.formats.format import Format, each_record
from llm_embedder_data.rows.formats.judgments import relevant_row
from llm_embedder_data.rows.formats.llm_embedder import query_id_in
from llm_embedder_data.rows.formats.own_instruction import instruction_of
from llm_embedder_data.rows.formats.parts import Parts
from llm_embedder_data.rows.records.raw_files import RawFile
from llm_embedder_data.rows.schema.canonical_rows import (
    BadRowError,
    Dropped,
    Row,
    document_id,
    scores_of,
    titled,
    train_row,
)
from llm_embedder_data.rows.schema.identified_texts import with_id

_NO_TITLE = ("-",)
_DOCUMENT = ("docid", "doc_id", "passage_id", "psg_id", "_id", "id")


def passages_of(
    value: Any, field: str, no_title: tuple[str, ...] = (), *, keeps_ids: bool = False
) -> list[str]:
    """Return the texts of a list of passages, with their titles before them.

    Args:
        value: a list of passages, or one passage; a passage is a string or an object of ``text``
            and, optionally, ``title``. None is an empty list.
        field: name of the column, for messages.
        no_title: titles that stand for none.
        keeps_ids: whether the texts carry the passages' ids.

    Raises:
        BadRowError: a value has another type, or a passage has no text.
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
    """Return the ids of a list of passages, each once, in order.

    Args:
        value: a list of passages, each an object with an id; another value is an empty list.
        field: name of the column, for messages.

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
    return parts.complete_scores(True, scores_of((given, n_candidates)))


def _query(record: Mapping[str, Any]) -> tuple[Any, Mapping[str, str | None] | None]:
    """Return the query and the row's instruction; None if the query contains the instruction."""
    query, given = record.get("query"), record.get("instruction")
    instruction = instruction_of(given)
    of_query = given if isinstance(given, str) else None
    if of_query == "" and "only_query" not in record:
        return query, {"query": "", "key": None}  # the row asks for none, not for the recipe's
    if not of_query:
        return record.get("only_query") or query, instruction
    if record.get("only_query"):
        return record["only_query"], instruction
    if isinstance(query, str) and of_query in query and query != of_query:
        return query, None
    return query, instruction


def _train(record: Mapping[str, Any], parts: Parts) -> Row:
    pos, neg = (
        passages_of(record.get(name), name, _NO_TITLE, keeps_ids=parts.keeps_ids)
        for name in ("positive_passages", "negative_passages")
    )
    if not pos:
        raise Dropped("rows without a positive")
    query, given = _query(record)
    instruction: Mapping[str, str | None] = given or {}
    return train_row(
        query,
        pos,
        neg,
        scores=_scores(record, len(pos) + len(neg), parts),
        query_id=query_id_in(record),
        query_instruction=instruction.get("query"),
        key_instruction=instruction.get("key"),
    )


def _eval(record: Mapping[str, Any], parts: Parts) -> Row:
    query, instruction = _query(record)
    ids = passage_ids_of(record.get("positive_passages"), "positive_passages")
    row = relevant_row(query, query_id_in(record), ids, parts)
    if instruction is not None:
        row["instruction"] = dict(instruction)
    return row


TEVATRON = Format(
    name="tevatron",
    what="Tevatron's rows of positive_passages and negative_passages",
    recognizes=_recognizes,
    train=each_record(_train),
    eval=each_record(_eval),
)
LIGHTRETRIEVER = Format(
    name="lightretriever",
    what="LightRetriever's rows of passages with ce_score",
    recognizes=_has_scores,
    train=each_record(_train),
    eval=each_record(_eval),
)
