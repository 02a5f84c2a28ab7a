"""msmarco-hard-negatives and GPL: qid, pos ids, and negatives' ids by miner."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm_embedder_data.rows.canonical_rows import BadRowError, Dropped, Row, ids_of, train_row
from llm_embedder_data.rows.formats.format import Format, Parts, each
from llm_embedder_data.rows.raw_files import RawFile


def _recognizes(file: RawFile) -> bool:
    return {"qid", "pos", "neg"} <= set(file.fields) and all(
        isinstance(negatives, Mapping) for negatives in file.values("neg")
    )


def query_of(query_id: Any, parts: Parts) -> tuple[Any, str]:
    """The id and the text of a query that a row names."""
    found = parts.queries.get(str(query_id))
    if found is None:
        raise BadRowError(f"query id {query_id!r} is not in the queries")
    return found


def _train(record: Mapping[str, Any], parts: Parts) -> Row:
    _, query = query_of(record.get("qid"), parts)
    positive = ids_of(record.get("pos"), "pos")
    if not positive:
        raise Dropped("rows without a positive")
    by_miner = record.get("neg") or {}
    miner = parts.options.miner
    names = list(by_miner) if miner is None else [miner]
    negative: dict[str, None] = {}
    for name in names:
        for entry in by_miner.get(name) or ():
            one = entry.get("pid") if isinstance(entry, Mapping) else entry
            negative.update(dict.fromkeys(ids_of(one, f"neg.{name}")))
    for one in positive:
        negative.pop(one, None)
    return train_row(
        query,
        parts.joined(positive, "positive"),
        parts.joined(list(negative), "negative") if negative else (),
        query_id=record.get("qid"),
    )


HARD_NEGATIVES = Format(
    name="hard_negatives",
    what="qid with the ids of positives, and of negatives by miner",
    recognizes=_recognizes,
    train=each(_train),
)
