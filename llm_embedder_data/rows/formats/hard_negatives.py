"""The rows of msmarco-hard-negatives and GPL: ids of a query, its positives, and mined negatives.

A record::

    {"qid": 17, "pos": [482], "neg": {"bm25": [90, 1205], "msmarco-distilbert": [77]}}

A file is known by ``qid`` (or ``query_id`` or ``query``), ``pos``, and a ``neg`` that is an object.
``neg`` has the ids that each miner found; negatives are those of the miner that the user names, or
else of all miners. ``query`` may hold the query's text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.rows.formats.format import Format, each_record, most_are
from llm_embedder_data.rows.formats.judgments import relevant_row
from llm_embedder_data.rows.formats.parts import Parts
from llm_embedder_data.rows.records.raw_files import RawFile
from llm_embedder_data.rows.schema.canonical_rows import (
    BadRowError,
    Dropped,
    Row,
    ids_of,
    train_row,
)


def _recognizes(file: RawFile) -> bool:
    fields, negatives = set(file.fields), file.values("neg")
    return (
        {"pos", "neg"} <= fields
        and bool(fields & {"qid", "query_id", "query"})
        and most_are(negatives, lambda by_miner: isinstance(by_miner, Mapping))
    )


def _query(record: Mapping[str, Any], parts: Parts) -> tuple[Any, str]:
    query_id = record.get("qid", record.get("query_id"))
    if isinstance(record.get("query"), str):
        return query_id, record["query"]
    return query_id, parts.query_of(query_id)[1]


def _by_miner(record: Mapping[str, Any]) -> Mapping[str, Any]:
    by_miner = record.get("neg") or {}
    if not isinstance(by_miner, Mapping):
        raise BadRowError("neg: expected an object of lists of ids, one for each miner")
    return by_miner


def _train(record: Mapping[str, Any], parts: Parts) -> Row:
    positive = ids_of(record.get("pos"), "pos")
    if not positive:
        raise Dropped("rows without a positive")
    query_id, query = _query(record, parts)
    by_miner, miner = _by_miner(record), parts.options.miner
    negative: dict[str, None] = {}
    for name in by_miner if miner is None else [miner]:
        mined = by_miner.get(name)
        for entry in mined if isinstance(mined, list) else [mined]:
            found = entry.get("pid") if isinstance(entry, Mapping) else entry
            negative.update(dict.fromkeys(ids_of(found, f"neg.{name}")))
    positive = list(dict.fromkeys(positive))
    for doc_id in positive:
        negative.pop(doc_id, None)
    pos, neg, _ = parts.pos_and_neg_of(positive, list(negative))
    return train_row(query, pos, neg, query_id=query_id)


def _check_miner(parts: Parts) -> None:
    """Check that some row has negatives of the miner that the user names.

    Raises:
        ConfigError: no row has any; the message names the miners that there are.
    """
    miner, names = parts.options.miner, set[str]()
    for record in parts.records():
        if isinstance(record.value, Mapping) and isinstance(record.value.get("neg"), Mapping):
            if miner in record.value["neg"]:
                return
            names.update(record.value["neg"])
    raise ConfigError(
        f"miner={miner!r}: {parts.source} has negatives of {', '.join(sorted(names)) or 'none'} "
        "(name one of these, or none for all)"
    )


def _read(parts: Parts) -> Iterator[Row]:
    if parts.options.miner is not None:
        _check_miner(parts)
    yield from each_record(_train)(parts)


def _eval(record: Mapping[str, Any], parts: Parts) -> Row:
    query_id, query = _query(record, parts)
    return relevant_row(query, query_id, ids_of(record.get("pos"), "pos"), parts)


HARD_NEGATIVES = Format(
    name="hard_negatives",
    what="qid with the ids of positives, and of negatives by miner",
    recognizes=_recognizes,
    train=_read,
    eval=each_record(_eval),
    settings=("miner",),
)
