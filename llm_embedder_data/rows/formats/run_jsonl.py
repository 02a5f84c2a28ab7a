"""A run with its texts: query_id, query, doc_id, text, rank, and perhaps relevance and score."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from llm_embedder_data.rows.canonical_rows import (
    BadRowError,
    Row,
    eval_row,
    scores_of,
    titled,
    train_row,
)
from llm_embedder_data.rows.formats.format import Format, Parts
from llm_embedder_data.rows.formats.judgments import grade_of
from llm_embedder_data.rows.raw_files import RawFile


def _recognizes(file: RawFile) -> bool:
    return {"query_id", "query", "doc_id", "text", "rank"} <= set(file.fields)


def _groups(parts: Parts) -> dict[str, list[Mapping[str, Any]]]:
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for record in parts.records():
        if not isinstance(record.value, Mapping) or "query_id" not in record.value:
            parts.leave_out(BadRowError("expected an object with query_id"))
            continue
        groups.setdefault(str(record.value["query_id"]), []).append(record.value)
    return groups


def _train(parts: Parts) -> Iterator[Row]:
    for ranked in _groups(parts).values():
        ranked.sort(key=lambda one: one.get("rank") or 0)
        query, query_id = ranked[0].get("query"), ranked[0]["query_id"]
        texts = [titled(one.get("title"), one.get("text")) for one in ranked]
        given = [one.get("score") for one in ranked]
        is_judged = any(one.get("relevance") is not None for one in ranked)
        if not is_judged:
            yield train_row(
                query, candidates=texts, scores=scores_of((given, len(texts))), query_id=query_id
            )
            continue
        is_positive = [grade_of(one.get("relevance") or 0) > 0 for one in ranked]
        if not any(is_positive):
            parts.counts["queries without a positive"] += 1
            continue
        order = [i for i, yes in enumerate(is_positive) if yes]
        n_positive = len(order)
        order += [i for i, yes in enumerate(is_positive) if not yes]
        yield train_row(
            query,
            [texts[i] for i in order[:n_positive]],
            [texts[i] for i in order[n_positive:]],
            scores=scores_of(([given[i] for i in order], len(order))),
            query_id=query_id,
        )


def _eval(parts: Parts) -> Iterator[Row]:
    for ranked in _groups(parts).values():
        grades = {
            str(one.get("doc_id")): grade_of(one["relevance"])
            for one in ranked
            if one.get("relevance") is not None
        }
        if not grades:
            parts.counts["queries without judgments"] += 1
            continue
        yield eval_row(ranked[0].get("query"), ranked[0]["query_id"], grades)


RUN_JSONL = Format(
    name="run_jsonl",
    what="a run with its texts",
    recognizes=_recognizes,
    train=_train,
    eval=_eval,
)
