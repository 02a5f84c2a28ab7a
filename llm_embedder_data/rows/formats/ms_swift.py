"""ms-swift's rows: a conversation, with positive and negative messages.

A record::

    {"messages": [{"role": "user", "content": "what causes tides"}],
     "positive_messages": [[{"role": "user", "content": "Tides follow the moon."}]],
     "negative_messages": [[{"role": "user", "content": "Rain falls from clouds."}]]}

A file is known by these columns, or by ``query``, ``response`` and ``rejected_response``, as they
were called before ms-swift 3.8. The query is the last turn of the user, below the earlier turns as
lines "role: text". The system turn is the query's instruction. If ``label`` is 0, the row's
positives are negatives. Rows with the same query become one row.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from llm_embedder_data.core.shown_values import shown
from llm_embedder_data.rows.formats.format import Format
from llm_embedder_data.rows.formats.labeled_pairs import needs_threshold
from llm_embedder_data.rows.formats.llm_embedder import query_id_in
from llm_embedder_data.rows.formats.parts import Parts
from llm_embedder_data.rows.records.raw_files import RawFile
from llm_embedder_data.rows.schema.canonical_rows import (
    BadRowError,
    Row,
    text_of,
    texts_of,
    train_row,
)

# ((query, its instruction), positives, negatives) of a record
_Texts = tuple[tuple[str, str | None], list[str], list[str]]
_MEDIA = ("images", "videos", "audios")


def _recognizes(file: RawFile) -> bool:
    return (
        {"messages", "positive_messages"} <= set(file.fields)
        or (
            {"messages"} <= set(file.fields)
            and bool({"negative_messages", "rejected_messages"} & set(file.fields))
        )
        or _is_old(file.fields)
    )


def _is_old(fields: Collection[str]) -> bool:
    return {"query", "response", "rejected_response"} <= set(fields)


def _turns(value: Any, field: str) -> list[tuple[str, str]]:
    """Return (role, text) of each message."""
    if not isinstance(value, list) or not value:
        raise BadRowError(f"{field}: expected a list of messages")
    turns = []
    for message in value:
        if not isinstance(message, Mapping) or not isinstance(message.get("content"), str):
            raise BadRowError(f"{field}: expected messages of role and content")
        if _has_media(message["content"]):
            raise BadRowError(f"{field}: rows of images, video or audio are not read")
        turns.append((shown(message.get("role")).strip("'"), message["content"]))
    return turns


def _text(value: Any, field: str) -> str:
    """Return the text of a list of messages, without the system's."""
    return "\n".join(text for role, text in _turns(value, field) if role != "system")


def _texts(value: Any, field: str) -> list[str]:
    """Return the texts of a list of messages, or of several lists."""
    if not value:
        return []
    if isinstance(value, list) and all(isinstance(message, Mapping) for message in value):
        return [_text(value, field)]
    if not isinstance(value, list):
        raise BadRowError(f"{field}: expected a list of lists of messages")
    return [_text(messages, field) for messages in value]


def _query(value: Any) -> tuple[str, str | None]:
    """Return the query of a conversation, and its instruction, if there is a system turn."""
    turns = _turns(value, "messages")
    system = next((text for role, text in turns if role == "system"), None)
    spoken = [(role, text) for role, text in turns if role != "system"]
    last = max((i for i, (role, _) in enumerate(spoken) if role == "user"), default=None)
    if last is None:
        raise BadRowError("messages: no turn of the user")
    earlier = [f"{role}: {text}" for role, text in spoken[:last]]
    return "\n".join([*earlier, spoken[last][1]]), system


def _new(value: Mapping[str, Any]) -> _Texts:
    """Read a row of ms-swift 3.8 or later."""
    negative = [
        text
        for name in ("negative_messages", "rejected_messages")
        for text in _texts(value.get(name), name)
    ]
    positive = _texts(value.get("positive_messages"), "positive_messages")
    return _query(value.get("messages")), positive, negative


def _old(value: Mapping[str, Any]) -> _Texts:
    """Read a row from before ms-swift 3.8: query, response, rejected_response, system, history."""
    query, system = text_of(value.get("query"), "query"), value.get("system")
    if system is not None and not isinstance(system, str):
        raise BadRowError(f"system: expected a string, found {shown(system)}")
    if _has_media(query):
        raise BadRowError("query: rows of images, video or audio are not read")
    earlier = []
    history = value.get("history")
    for turns in history if isinstance(history, list) else []:
        if not isinstance(turns, list) or not all(isinstance(turn, str) for turn in turns):
            raise BadRowError("history: expected pairs of texts")
        earlier += [f"{role}: {text}" for role, text in zip(("user", "assistant"), turns)]  # noqa: B905
    return (
        ("\n".join([*earlier, query]), system or None),
        texts_of(value.get("response"), "response"),
        texts_of(value.get("rejected_response"), "rejected_response"),
    )


def _has_media(text: str) -> bool:
    return any(mark in text for mark in ("<image>", "<video>", "<audio>"))


def _read(parts: Parts) -> Iterator[Row]:
    # {((query, its instruction), the row's task): (positives, negatives, query id)}
    groups: dict[
        tuple[tuple[str, str | None], str | None], tuple[dict[str, None], dict[str, None], Any]
    ] = {}
    threshold = parts.options.threshold
    for record in parts.records():
        try:
            if not isinstance(record.value, Mapping):
                raise BadRowError("expected an object")
            value = parts.watched(record)
            if any(value.get(name) for name in _MEDIA):
                raise BadRowError("rows of images, video or audio are not read")
            texts, positive, negative = _old(value) if "messages" not in value else _new(value)
            label = value.get("label")
            if label is not None and not _is_positive(label, threshold):
                positive, negative = [], [*positive, *negative]
        except BadRowError as error:
            parts.leave_out(error)
            continue
        key = texts, parts.own_key()
        parts.note_query(key)
        pos, neg, _ = groups.setdefault(key, ({}, {}, query_id_in(value)))
        pos.update(dict.fromkeys(positive))
        neg.update(dict.fromkeys(negative))
    for key, (pos, neg, query_id) in groups.items():
        (query, system), _ = key
        parts.go_to_query(key)
        if not pos:
            parts.count_record("queries without a positive")
            continue
        try:
            yield train_row(
                query,
                pos,
                (text for text in neg if text not in pos),
                query_id=query_id,
                query_instruction=system,
            )
        except BadRowError as error:
            parts.leave_out(error)


def _is_positive(label: Any, threshold: float | None) -> bool:
    if not isinstance(label, int | float):
        raise BadRowError(f"label: expected a number, found {shown(label)}")
    if threshold is not None:
        return label >= threshold
    if label not in (0, 1):
        raise needs_threshold("label", label)
    return label == 1


MS_SWIFT = Format(
    name="ms_swift",
    what="ms-swift's rows of messages and positive_messages",
    recognizes=_recognizes,
    train=_read,
    settings=("threshold",),
)
