"""ranx's judgments and runs: an object of numbers by query and document, or a table.

The object, and a record of a table::

    {"q1": {"d1": 2, "d7": 0}}
    {"q_id": "q1", "doc_id": "d1", "score": 2}

Judgments (qrels) and runs have the same shape. If a number is a float, the file is a run. Whole
numbers may be grades or scores; they are taken for grades, except in training data, where the user
has to say which.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm_embedder_data.rows.formats.format import Format
from llm_embedder_data.rows.formats.trec import (
    eval_of_judgments,
    eval_of_run,
    is_whole,
    train_of_judgments,
    train_of_run,
)
from llm_embedder_data.rows.records.raw_files import RawFile


def _nested(file: RawFile) -> list[Any] | None:
    """Return the numbers of ``{query: {document: number}}``; None for another shape."""
    if len(file.head) != 1 or not isinstance(file.head[0], Mapping) or not file.head[0]:
        return None
    by_query = list(file.head[0].values())
    if not all(isinstance(documents, Mapping) and documents for documents in by_query):
        return None
    numbers = [number for documents in by_query for number in documents.values()]
    are_numbers = all(
        isinstance(number, int | float) and not isinstance(number, bool) for number in numbers
    )
    return numbers if are_numbers else None


def _table(file: RawFile) -> list[Any] | None:
    if set(file.fields) == {"q_id", "doc_id", "score"}:
        return file.values("score")
    return None


def _is_ranx(file: RawFile, of_floats: bool) -> bool:
    numbers = _nested(file) or _table(file)
    if numbers is None:
        return False
    has_floats = any(isinstance(number, float) or not is_whole(number) for number in numbers)
    return has_floats == of_floats


RANX_QRELS = Format(
    name="ranx_qrels",
    what="ranx's judgments {query: {document: grade}}",
    recognizes=lambda file: _is_ranx(file, of_floats=False),
    train=train_of_judgments,
    eval=eval_of_judgments,
)
RANX_RUN = Format(
    name="ranx_run",
    what="ranx's run {query: {document: score}}",
    recognizes=lambda file: _is_ranx(file, of_floats=True),
    train=train_of_run,
    eval=eval_of_run,
)
