"""ranx's judgments and runs: {query: {document: number}}, or a table of q_id, doc_id and score.

The two are alike but for the numbers: whole ones may be grades or scores.
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
    """The numbers of {query: {document: number}}; None for another shape."""
    if len(file.head) != 1 or not isinstance(file.head[0], Mapping) or not file.head[0]:
        return None
    inner = list(file.head[0].values())
    if not all(isinstance(one, Mapping) and one for one in inner):
        return None
    numbers = [number for one in inner for number in one.values()]
    is_plain = all(isinstance(one, int | float) and not isinstance(one, bool) for one in numbers)
    return numbers if is_plain else None


def _table(file: RawFile) -> list[Any] | None:
    if set(file.fields) == {"q_id", "doc_id", "score"}:
        return file.values("score")
    return None


def _is_ranx(file: RawFile, of_floats: bool) -> bool:
    numbers = _nested(file) or _table(file)
    if numbers is None:
        return False
    return any(isinstance(one, float) or not is_whole(one) for one in numbers) == of_floats


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
