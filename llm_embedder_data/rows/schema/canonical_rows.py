"""Canonical rows: every format's rows are read into these dicts.

- train: ``query`` (str), ``pos`` and ``neg`` (lists of str), ``candidates`` (list of str that
  replaces both if the file does not label positives; otherwise None), ``teacher_scores`` (list of
  float, one for each of pos and then neg, or for each of candidates; or None), ``query_id`` (str,
  int or None), ``instruction`` ({"query": str or None, "key": str or None}, or None), ``task`` (str
  or None)
- eval: ``query`` (str), ``query_id`` (str, int or None), ``relevant`` ({document id: grade}). Only
  queries that have them also get ``candidates`` (ids of the documents to rerank), ``instruction``
  and ``task`` (as in train) and ``answers`` (list of str).
- corpus: ``id`` (str), ``text`` (str)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from llm_embedder_data.core.shown_values import shown
from llm_embedder_data.rows.files.class_names import NamedClass

Kind = Literal["train", "eval", "corpus"]
Row = dict[str, Any]

# A candidate while rows are being read: its text, or the number of a passage in the corpora that
# the rows refer to. The reader replaces the numbers before it returns rows.
Key = str | int
QueryId = str | int | None

# Batches hold teacher scores as float32, where a larger number would become infinite.
LARGEST_SCORE = float(np.finfo(np.float32).max)


class BadRowError(ValueError):
    """A record breaks a rule of its format; the message says which."""


class EmptyTextError(BadRowError):
    """A record has an empty text."""


class Dropped(Exception):
    """A format leaves a record out; the message is the reason under which it is counted."""


def train_row(
    query: Any,
    pos: Iterable[Key] = (),
    neg: Iterable[Key] = (),
    *,
    candidates: Iterable[Key] | None = None,
    scores: Sequence[float] | None = None,
    query_id: Any = None,
    query_instruction: str | None = None,
    key_instruction: str | None = None,
    task: Any = None,
) -> Row:
    """Return a canonical training row.

    Raises:
        BadRowError: the query, its id or the task has a wrong type, or the query or task is empty.
    """
    has_instruction = query_instruction is not None or key_instruction is not None
    return {
        "query": text_of(query, "query"),
        "pos": list(pos),
        "neg": list(neg),
        "candidates": None if candidates is None else list(candidates),
        "teacher_scores": None if scores is None else [float(score) for score in scores],
        "query_id": id_of(query_id, "query_id"),
        "instruction": (
            {"query": query_instruction, "key": key_instruction} if has_instruction else None
        ),
        "task": None if task is None else text_of(task, "task"),
    }


def has_passage_numbers(row: Row) -> bool | None:
    """Return whether a training row's candidates are passage numbers; None if it has none."""
    for side in ("pos", "neg", "candidates"):
        if row.get(side):
            return isinstance(row[side][0], int)
    return None


def eval_row(
    query: Any,
    query_id: Any,
    relevant: Mapping[str, float],
    *,
    candidates: Sequence[str] | None = None,
    instruction: str | None = None,
) -> Row:
    """Return a canonical eval row; negative grades become 0.

    Args:
        query: the query's text.
        query_id: the query's id: str, int or None.
        relevant: grades by document id.
        candidates: ids of the documents to rerank.
        instruction: the query's instruction.

    Raises:
        BadRowError: the query or its id has a wrong type, or the query is empty.
    """
    row: Row = {
        "query": text_of(query, "query"),
        "query_id": id_of(query_id, "query_id"),
        "relevant": {document: max(grade, 0) for document, grade in relevant.items()},
    }
    if candidates is not None:
        row["candidates"] = list(candidates)
    if instruction is not None:
        row["instruction"] = {"query": instruction, "key": None}
    return row


def corpus_row(id: Any, text: str) -> Row:
    """Return a canonical corpus row; an integer id becomes its decimal text.

    Raises:
        BadRowError: the id is missing or has a wrong type.
    """
    return {"id": document_id(id, "id"), "text": text}


def text_of(value: Any, field: str) -> str:
    """Return a value of a field as it is, after checking that it is a text.

    Raises:
        BadRowError: it is not a string, or it is empty or white space.
    """
    if isinstance(value, NamedClass):
        value = value.name
    if not isinstance(value, str):
        raise BadRowError(f"{field}: expected a string, found {shown(value)}")
    if not value.strip():
        raise EmptyTextError(f"{field}: the text is empty")
    return value


def texts_of(value: Any, field: str) -> list[str]:
    """Return the texts of a field that may hold a list, a single text or nothing.

    A single text becomes a list of length 1. None and a blank text become an empty list.

    Raises:
        BadRowError: the value is neither a list nor a string, or an entry of the list is not a
            string or is blank.
    """
    if value is None:
        return []
    if isinstance(value, str):
        value = [value] if value.strip() else []
    if not isinstance(value, list | tuple):
        raise BadRowError(f"{field}: expected a list of strings, found {shown(value)}")
    return [text_of(text, f"{field}[{number}]") for number, text in enumerate(value)]


def id_of(value: Any, field: str) -> QueryId:
    """Return an id as a string or an integer, or None if the value is missing.

    pandas stores a column of integers as floats if some are missing. So 3.0 becomes 3, and NaN
    becomes None.

    Raises:
        BadRowError: the value has another type.
    """
    if value is None or (isinstance(value, str | int) and not isinstance(value, bool)):
        return value
    if isinstance(value, float) and (math.isnan(value) or value.is_integer()):
        return None if math.isnan(value) else int(value)
    raise BadRowError(f"{field}: expected an integer or a string, found {shown(value)}")


def ids_of(value: Any, field: str) -> list[str]:
    """Return the document ids of a field as strings; a single id becomes a list of length 1.

    Raises:
        BadRowError: the value is not a list of ids, or an id is missing or has a wrong type.
    """
    if value is None:
        return []
    if isinstance(value, float) and math.isnan(value):  # a missing value in pandas
        return []
    if isinstance(value, str | int | float):
        value = [value]
    if not isinstance(value, list | tuple):
        raise BadRowError(f"{field}: expected a list of ids, found {shown(value)}")
    types = set(map(type, value))
    if types == {str}:  # the usual case; large files hold billions of ids
        return list(value)
    if types == {int}:
        return list(map(integer_text, value))
    return [document_id(entry, f"{field}[{number}]") for number, entry in enumerate(value)]


def document_id(value: Any, field: str) -> str:
    """Return a document's id as a string.

    Raises:
        BadRowError: it is missing or has a wrong type.
    """
    found = id_of(value, field)
    if found is None:
        raise BadRowError(f"{field}: it is missing")
    return integer_text(found) if isinstance(found, int) else found


def integer_text(number: int) -> str:
    """Return the digits of an integer.

    Raises:
        BadRowError: it has more than 4,300 digits, Python's default limit.
    """
    try:
        return str(number)
    except ValueError:
        raise BadRowError("an id has more than 4,300 digits") from None


def stored_id(query_id: str | int | None) -> str | int | None:
    """Return an id as an Arrow column can hold it: an integer over 64 bits becomes a string."""
    if isinstance(query_id, int) and not -(2**63) <= query_id < 2**63:
        return integer_text(query_id)
    return query_id


def train_record(row: Row) -> Mapping[str, Any]:
    """Return a canonical training row as a record with the fields of ``TRAIN_COLUMNS``."""
    return {**row, "history": row["candidates"], "query_id": stored_id(row["query_id"])}


def scores_of(*parts: tuple[Any, int], field: str = "scores") -> list[float] | None:
    """Join the scores of several lists of candidates.

    Args:
        parts: for each list of candidates, its scores as the file gives them, and its length.
        field: the name of the scores in messages.

    Returns:
        One score per candidate. None if a list that has candidates has no scores, or if a score is
        null, NaN or infinite.

    Raises:
        BadRowError: a list has more or fewer scores than candidates, a score is not a number, or it
            is too large for float32.
    """
    found: list[float] = []
    for scores, n_candidates in parts:
        if scores is None and n_candidates:
            return None
        scores = [] if scores is None else scores
        scores = list(scores) if isinstance(scores, list | tuple) else [scores]
        if _are_plain(scores) and len(scores) == n_candidates:
            found += map(float, scores)
            continue
        for score in scores:
            if isinstance(score, bool) or not isinstance(score, int | float | None):
                raise BadRowError(f"{field}: expected numbers, found {shown(score)}")
        if len(scores) != n_candidates:
            raise BadRowError(f"{field}: {len(scores)} scores for {n_candidates} candidates")
        for score in scores:
            if score is None or (isinstance(score, float) and not math.isfinite(score)):
                return None
            if abs(score) > LARGEST_SCORE:
                raise BadRowError(
                    f"{field}: {shown(score)} is beyond {LARGEST_SCORE:.2e}, the largest 32-bit "
                    "float (batches hold scores as 32-bit floats)"
                )
            found.append(float(score))
    return found or None


def _are_plain(scores: list[Any]) -> bool:
    """Return whether all scores are floats that fit float32, as in most rows."""
    if set(map(type, scores)) != {float}:
        return False
    return (
        math.isfinite(sum(scores)) and -LARGEST_SCORE <= min(scores) <= max(scores) <= LARGEST_SCORE
    )


def titled(title: Any, text: Any, field: str = "text", *, no_title: Sequence[str] = ()) -> str:
    """Return a passage's title and text, separated by a space; or only its text without a title.

    Args:
        title: the title; None and blank titles are ignored.
        text: the text of the passage.
        field: the name of the text in messages.
        no_title: titles that mean that there is none, such as ``-``.

    Raises:
        BadRowError: the title or text is not a string, or both are blank.
    """
    text = "" if text is None else text
    if not isinstance(text, str) or not (title is None or isinstance(title, str)):
        wrong = text if not isinstance(text, str) else title
        raise BadRowError(f"{field}: expected a string, found {shown(wrong)}")
    title = (title or "").strip()
    joined = text.strip() if title in ("", *no_title) else f"{title} {text}".strip()
    if not joined:
        raise EmptyTextError(f"{field}: the text is empty")
    return joined
