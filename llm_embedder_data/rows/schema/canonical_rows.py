"""Canonical rows: the one shape that the rows of every format are read into.

- train: ``query`` (str), ``pos`` and ``neg`` (lists of str), ``candidates`` (list of str in place
  of both, where nothing says which is positive; else None), ``teacher_scores`` (list of float, of
  pos then neg, or of candidates; else None), ``query_id`` (str, int or None), ``instruction``
  ({"query": str or None, "key": str or None}, or None), ``task`` (str or None)
- eval: ``query``, ``query_id``, ``relevant`` ({document id: grade}). ``candidates`` (ids of the
  documents to rerank), ``instruction`` and ``answers`` (list of str) are there only for the queries
  that have them.
- corpus: ``id`` (str), ``text`` (str)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

Kind = Literal["train", "eval", "corpus"]
Row = dict[str, Any]

# A candidate while rows are read: its text, or its number among the passages of the corpora that
# rows are joined to. Rows that leave the reader have texts.
Key = str | int
QueryId = str | int | None

# Batches hold teacher scores as float32, in which a larger number is infinite.
LARGEST_SCORE = float(np.finfo(np.float32).max)


class BadRowError(ValueError):
    """A record that breaks a rule of its format; the message says which."""


class EmptyTextError(BadRowError):
    """A record whose text is empty."""


class Dropped(Exception):
    """A record that a format leaves out; the message is the reason under which it is counted."""


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
    """Make a canonical training row.

    Raises:
        BadRowError: a value of another type than its field's.
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


def has_numbers(row: Row) -> bool | None:
    """Whether a training row's candidates are numbers of passages; None where it has none."""
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
    """Make a canonical eval row; negative grades become 0.

    Args:
        query: text.
        query_id: of the query.
        relevant: grades by document id.
        candidates: ids of the documents to rerank.
        instruction: of the query.
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


def corpus_row(own_id: Any, text: str) -> Row:
    """Make a canonical corpus row; an integer id becomes its decimal text."""
    return {"id": document_id(own_id, "id"), "text": text}


def text_of(value: Any, field: str) -> str:
    """Return a text.

    Raises:
        BadRowError: it is no text, or an empty one.
    """
    if not isinstance(value, str):
        raise BadRowError(f"{field}: expected a string, found {shown(value)}")
    if not value.strip():
        raise EmptyTextError(f"{field}: the text is empty")
    return value


def texts_of(value: Any, field: str) -> list[str]:
    """Return a list of texts; a text is a list of one, and null, a blank or no field is empty.

    Raises:
        BadRowError: it holds something that is no text, or an empty text.
    """
    if value is None:
        return []
    if isinstance(value, str):
        value = [value] if value.strip() else []
    if not isinstance(value, list | tuple):
        raise BadRowError(f"{field}: expected a list of strings, found {shown(value)}")
    return [text_of(text, f"{field}[{number}]") for number, text in enumerate(value)]


def id_of(value: Any, field: str) -> QueryId:
    """Return an id: text, or an integer; None where there is none.

    Tables of pandas hold integers as floats where some are missing; 3.0 is 3, and NaN is none.

    Raises:
        BadRowError: it is of another type.
    """
    if value is None or (isinstance(value, str | int) and not isinstance(value, bool)):
        return value
    if isinstance(value, float) and (math.isnan(value) or value.is_integer()):
        return None if math.isnan(value) else int(value)
    raise BadRowError(f"{field}: expected an integer or a string, found {shown(value)}")


def ids_of(value: Any, field: str) -> list[str]:
    """Return a list of document ids as text; one id is a list of one.

    Raises:
        BadRowError: it holds something that is no id.
    """
    if value is None:
        return []
    if isinstance(value, str | int):
        value = [value]
    if not isinstance(value, list | tuple):
        raise BadRowError(f"{field}: expected a list of ids, found {shown(value)}")
    types = set(map(type, value))
    if types == {str}:  # as most are, and there may be billions
        return list(value)
    if types == {int}:
        return list(map(integer_text, value))
    return [document_id(entry, f"{field}[{number}]") for number, entry in enumerate(value)]


def document_id(value: Any, field: str) -> str:
    """Return a document's id as text.

    Raises:
        BadRowError: it is missing, or no id.
    """
    found = id_of(value, field)
    if found is None:
        raise BadRowError(f"{field}: it is missing")
    return integer_text(found) if isinstance(found, int) else found


def integer_text(number: int) -> str:
    """The digits of an integer, however many."""
    try:
        return str(number)
    except ValueError:  # longer than Python converts by default
        raise BadRowError("an id has more than 4,300 digits") from None


def stored_id(query_id: str | int | None) -> str | int | None:
    """Return an id as a column holds it: an integer over 64 bits as its digits."""
    if isinstance(query_id, int) and not -(2**63) <= query_id < 2**63:
        return integer_text(query_id)
    return query_id


def train_record(row: Row) -> Mapping[str, Any]:
    """Return a canonical training row as a record of the columns of training rows."""
    return {**row, "history": row["candidates"], "query_id": stored_id(row["query_id"])}


def scores_of(*parts: tuple[Any, int], field: str = "scores") -> list[float] | None:
    """Join the scores of several lists of candidates.

    Args:
        parts: the scores of a list as the file has them, and how many candidates it holds.
        field: for messages.

    Returns:
        A score for each candidate, or None where a part has no score, or one that is null, NaN or
        infinite.

    Raises:
        BadRowError: there are more or fewer scores than candidates, or one is no number that a
            batch can hold.
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
                    f"{field}: {shown(score)} is beyond {LARGEST_SCORE:.2e}, the largest number of "
                    "a 32-bit float, as batches hold scores"
                )
            found.append(float(score))
    return found or None


def _are_plain(scores: list[Any]) -> bool:
    """Return whether all scores are finite floats that a batch can hold, as most lists are."""
    if set(map(type, scores)) != {float}:
        return False
    return (
        math.isfinite(sum(scores)) and -LARGEST_SCORE <= min(scores) <= max(scores) <= LARGEST_SCORE
    )


def titled(title: Any, text: Any, field: str = "text", *, no_title: Sequence[str] = ()) -> str:
    """Join a title and a text by a blank; the text alone where there is no title.

    Args:
        title: null, missing and blank titles are none.
        text: of the passage.
        field: for messages.
        no_title: titles that stand for none, such as ``-``.
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


def shown(value: Any) -> str:
    """A value for a message, cut at 80 signs."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, a deep list
        return f"a {type(value).__name__} that is too large to show"
    return text if len(text) <= 80 else f"{text[:77]}..."
