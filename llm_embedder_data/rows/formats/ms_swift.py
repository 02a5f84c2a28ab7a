"""ms-swift's rows of messages: a conversation, with positive_messages and negative_messages.

The query is the last user turn, behind the earlier turns as lines of "role: text"; the system turn
is the query's instruction. A label of 0 makes the positives negatives; rows of one query are one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from llm_embedder_data.rows.canonical_rows import BadRowError, Row, train_row
from llm_embedder_data.rows.formats.format import Format, Parts
from llm_embedder_data.rows.raw_files import RawFile

_MEDIA = ("images", "videos", "audios")


def _recognizes(file: RawFile) -> bool:
    return {"messages", "positive_messages"} <= set(file.fields) or (
        {"messages"} <= set(file.fields)
        and bool({"negative_messages", "rejected_messages"} & set(file.fields))
    )


def _turns(value: Any, field: str) -> list[tuple[str, str]]:
    if not isinstance(value, list) or not value:
        raise BadRowError(f"{field}: expected a list of messages")
    turns = []
    for message in value:
        if not isinstance(message, Mapping) or not isinstance(message.get("content"), str):
            raise BadRowError(f"{field}: expected messages of role and content")
        if any(mark in message["content"] for mark in ("<image>", "<video>", "<audio>")):
            raise BadRowError(f"{field}: rows of images, video or audio are not read")
        turns.append((str(message.get("role")), message["content"]))
    return turns


def _text(value: Any, field: str) -> str:
    return "\n".join(text for role, text in _turns(value, field) if role != "system")


def _texts(value: Any, field: str) -> list[str]:
    if not value:
        return []
    if isinstance(value, list) and all(isinstance(one, Mapping) for one in value):
        return [_text(value, field)]
    if not isinstance(value, list):
        raise BadRowError(f"{field}: expected a list of lists of messages")
    return [_text(one, field) for one in value]


def _query(value: Any) -> tuple[str, str | None]:
    turns = _turns(value, "messages")
    system = next((text for role, text in turns if role == "system"), None)
    spoken = [(role, text) for role, text in turns if role != "system"]
    last = max((i for i, (role, _) in enumerate(spoken) if role == "user"), default=None)
    if last is None:
        raise BadRowError("messages: no turn of the user")
    earlier = [f"{role}: {text}" for role, text in spoken[:last]]
    return "\n".join([*earlier, spoken[last][1]]), system


def _read(parts: Parts) -> Iterator[Row]:
    groups: dict[tuple[str, str | None], tuple[dict[str, None], dict[str, None]]] = {}
    threshold = parts.options.threshold
    for record in parts.records():
        try:
            value = record.value
            if not isinstance(value, Mapping):
                raise BadRowError("expected an object")
            if any(value.get(name) for name in _MEDIA):
                raise BadRowError("rows of images, video or audio are not read")
            key = _query(value.get("messages"))
            positive = _texts(value.get("positive_messages"), "positive_messages")
            negative = [
                text
                for name in ("negative_messages", "rejected_messages")
                for text in _texts(value.get(name), name)
            ]
            label = value.get("label")
            if label is not None and not _is_positive(label, threshold):
                positive, negative = [], [*positive, *negative]
        except BadRowError as error:
            if "threshold" in str(error):
                raise parts.error(str(error)) from error
            parts.leave_out(error)
            continue
        pos, neg = groups.setdefault(key, ({}, {}))
        pos.update(dict.fromkeys(positive))
        neg.update(dict.fromkeys(negative))
    for (query, system), (pos, neg) in groups.items():
        if not pos:
            parts.counts["queries without a positive"] += 1
            continue
        yield train_row(
            query, pos, (one for one in neg if one not in pos), query_instruction=system
        )


def _is_positive(label: Any, threshold: float | None) -> bool:
    if isinstance(label, bool) or not isinstance(label, int | float):
        raise BadRowError(f"label: expected a number, found {label!r}")
    if threshold is not None:
        return label >= threshold
    if label not in (0, 1):
        raise BadRowError(
            f"label={label!r} is a score, and nothing says from which score on a pair is positive "
            "(give threshold: 0.8, or the like)"
        )
    return label == 1


MS_SWIFT = Format(
    name="ms_swift",
    what="ms-swift's rows of messages and positive_messages",
    recognizes=_recognizes,
    train=_read,
)
