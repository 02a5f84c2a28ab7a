"""Rows of sentence-transformers' CrossEncoder training: a query, documents, and their labels.

A record::

    {"query": "what causes tides",
     "docs": ["Tides follow the moon.", "Rain falls from clouds."], "labels": [1, 0]}

A file is known by a query, a list of documents and a list of labels or scores, by any of the names
below. A document is positive if its label is 1, or at least the threshold that the user gives.
Without a threshold, numbers other than 0 and 1 are teacher scores of unlabelled documents.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from llm_embedder_data.core.shown_values import shown
from llm_embedder_data.rows.formats.format import Format, each_record, most_are
from llm_embedder_data.rows.formats.label_words import Verdict, verdict_of
from llm_embedder_data.rows.formats.llm_embedder import query_id_in
from llm_embedder_data.rows.formats.parts import Parts
from llm_embedder_data.rows.formats.texts_or_ids import texts_or_ids
from llm_embedder_data.rows.records.raw_files import RawFile
from llm_embedder_data.rows.schema.canonical_rows import (
    BadRowError,
    Dropped,
    Row,
    scores_of,
    texts_of,
    train_row,
)

_DOCUMENTS = ("docs", "documents", "passages", "candidates", "texts")
_LABELS = ("labels", "label")
_SCORES = ("scores", "score")


def _name(record: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    return next((name for name in names if isinstance(record.get(name), list)), None)


def _recognizes(file: RawFile) -> bool:
    return most_are([value for value in file.head if isinstance(value, Mapping)], _is_labeled)


def _listed(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """A record with its documents and labels as lists.

    MS MARCO's question answering has both in one object: ``passages`` of ``passage_text`` and
    ``is_selected``.
    """
    passages = record.get("passages")
    if not isinstance(passages, Mapping) or not {"passage_text", "is_selected"} <= passages.keys():
        return record
    return {**record, "passages": passages["passage_text"], "labels": passages["is_selected"]}


def _number(label: Any) -> Any:
    """Return 1 for a label that says that a document matches, 0 for no match, others as they are.

    Digits in quotes and classes without a known name are not changed.
    """
    return {Verdict.MATCH: 1, Verdict.NO_MATCH: 0}.get(verdict_of(label), label)  # type: ignore[arg-type]


def _is_labeled(record: Mapping[str, Any]) -> bool:
    record = _listed(record)
    return (
        isinstance(record.get("query", record.get("question")), str)
        and _name(record, _DOCUMENTS) is not None
        and _name(record, (*_LABELS, *_SCORES)) is not None
    )


def _train(record: Mapping[str, Any], parts: Parts) -> Row:
    listed = _listed(record)  # a copy, which does not note the columns that are read
    documents, labels = _name(listed, _DOCUMENTS), _name(listed, _LABELS)
    if documents is None:
        raise BadRowError("docs: expected a list of strings")
    texts = texts_of(listed[documents], documents)
    scores = _name(listed, _SCORES)
    name = labels or scores or "labels"
    values = listed.get(name)
    if not isinstance(values, list) or len(values) != len(texts):
        n_values = len(values) if isinstance(values, list) else 0
        raise BadRowError(f"{n_values} {name} for {len(texts)} documents")
    values = list(map(_number, values))
    query = record.get("query", record.get("question"))
    if parts.options.threshold is None and not _are_labels(parts, name, values):
        found = parts.complete_scores(True, scores_of((values, len(texts)), field=name))
        return train_row(query, candidates=texts, scores=found, query_id=query_id_in(record))
    is_positive = [_is_positive(value, parts.options.threshold) for value in values]
    order = [position for position, positive in enumerate(is_positive) if positive]
    n_positive = len(order)
    if not order:
        raise Dropped("rows without a positive")
    order += [position for position, positive in enumerate(is_positive) if not positive]
    given = listed[scores] if labels and scores else None
    if given is not None and len(given) != len(texts):
        raise BadRowError(f"{len(given)} {scores} for {len(texts)} documents")
    return train_row(
        query,
        [texts[position] for position in order[:n_positive]],
        [texts[position] for position in order[n_positive:]],
        scores=None
        if given is None
        else parts.complete_scores(True, scores_of(([given[i] for i in order], len(order)))),
        query_id=query_id_in(record),
    )


def _are_labels(parts: Parts, name: str, values: list[Any]) -> bool:
    """Return whether all numbers of the file's first records, and of this record, are 0 or 1."""
    key = (parts.at[0] if parts.at else parts.source, name)
    if key not in parts.known_as_labels:
        parts.known_as_labels[key] = all(
            _is_zero_or_one(value)
            for file in parts.files
            for listed in file.values(name)
            if isinstance(listed, list)
            for value in map(_number, listed)
        )
    return parts.known_as_labels[key] and all(map(_is_zero_or_one, values))


def _is_zero_or_one(value: Any) -> bool:
    return isinstance(value, int | float) and value in (0, 1)


def _is_positive(value: Any, threshold: float | None) -> bool:
    if not isinstance(value, int | float) or math.isnan(value):
        raise BadRowError(f"labels: expected numbers, found {shown(value)}")
    return value >= (1 if threshold is None else threshold)


LABELED_LIST = Format(
    name="labeled_list",
    what="a query with docs and labels",
    recognizes=_recognizes,
    train=texts_or_ids(each_record(_train)),
    settings=("threshold",),
)
