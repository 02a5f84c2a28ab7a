"""Whether the candidates of a file are texts, or ids of documents in a corpus.

Candidates are ids if nearly all candidates of the first records are integers, or strings of 1 to 39
ASCII letters, digits and ``_ - . : /``, at least one of them a digit. Class labels are words
without a digit, and Chinese or Thai texts are not ASCII, so these count as texts. If a corpus is
named, candidates are also ids if the corpus has nearly all of them. The same rules say whether
queries are texts or ids.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llm_embedder_data.rows.formats.parts import Parts
from llm_embedder_data.rows.records.raw_files import RawFile
from llm_embedder_data.rows.schema.canonical_rows import (
    Key,
    document_id,
    ids_of,
    scores_of,
    texts_of,
)
from llm_embedder_data.rows.schema.identified_texts import with_id

# Columns with the ids of the positives, in rows that hold the positives as texts.
ID_COLUMNS = ("pos_id", "pos_ids", "positive_id", "positive_ids")

_ID = re.compile(r"(?=\D*\d)[A-Za-z0-9_\-.:/]{1,39}", re.ASCII)
_NEARLY_ALL = 0.9


def is_id(value: Any) -> bool:
    """Return whether a value looks like an id; 7.0 is the id 7, as pandas may store it."""
    if isinstance(value, str):
        return _ID.fullmatch(value) is not None
    if isinstance(value, float):
        return value.is_integer()
    return isinstance(value, int) and not isinstance(value, bool)


def nearly_all(found: int, looked_at: int) -> bool:
    """Return whether so many of the first values have a property that all can be taken to have it.

    Args:
        found: number of values that have the property.
        looked_at: number of first values.
    """
    return looked_at > 0 and found >= _NEARLY_ALL * looked_at


def are_ids(values: Iterable[Any]) -> bool:
    """Return whether nearly all values look like ids."""
    looked_at = list(values)
    return nearly_all(sum(map(is_id, looked_at)), len(looked_at))


def candidates_in(file: RawFile, columns: Sequence[str]) -> list[Any]:
    """Return the candidates in some columns of a file's first records, empty ones left out."""
    found: list[Any] = []
    for name in columns:
        for value in file.values(name):
            found.extend(value if isinstance(value, list) else [value])
    return [value for value in found if value is not None and value != ""]


def holds_document_ids(parts: Parts, columns: Sequence[str]) -> bool:
    """Return whether the candidates of the current file are document ids.

    Args:
        parts: the parts of the source; remembers the answer for each file.
        columns: the columns that hold candidates.
    """
    key = (_path(parts), tuple(columns))
    if key not in parts.known_as_ids:
        parts.known_as_ids[key] = are_document_ids(parts, _first_values(parts, columns))
    return parts.known_as_ids[key]


def _path(parts: Parts) -> str:
    return parts.at[0] if parts.at is not None else parts.source


def _first_values(parts: Parts, columns: Sequence[str]) -> list[Any]:
    path = _path(parts)
    file = next((file for file in parts.files if file.path == path), None)
    return [] if file is None else candidates_in(file, columns)


def are_document_ids(parts: Parts, values: Sequence[Any]) -> bool:
    """Return whether candidates, given those of the first rows, are document ids."""
    if are_ids(values):
        return True
    if parts.texts_of_corpus is None or not values:
        return False
    ids = [document_id(value, "id") for value in values if isinstance(value, str) or is_id(value)]
    return nearly_all(sum(doc_id in parts.documents for doc_id in ids), len(values))


@dataclass(frozen=True, slots=True)
class Candidates:
    """The positives and negatives of a record.

    Attributes:
        pos: positives, as texts or numbers of passages.
        neg: negatives, as texts or numbers of passages.
        kept: positions of the candidates that the corpus has, among all of the record, positives
            first; None if the record holds texts.
        n_given: number of candidates of the record, unknown ids included.
    """

    pos: list[Key]
    neg: list[Key]
    kept: list[int] | None
    n_given: int

    def scores(self, given: Any, field: str = "scores") -> list[float] | None:
        """Return the scores of the known candidates; None if a score is missing or not finite.

        Args:
            given: the scores of all candidates of the record; None if it has none.
            field: name of the column of scores, for messages.

        Raises:
            BadRowError: there are more or fewer scores than candidates, or one is no number.
        """
        if given is None:
            return None
        if self.kept is not None and isinstance(given, list) and len(given) == self.n_given:
            given = [given[position] for position in self.kept]
            return scores_of((given, len(self.kept)), field=field)
        return scores_of((given, self.n_given), field=field)


def pos_and_neg(
    record: Mapping[str, Any], parts: Parts, pos: str, negatives: Sequence[str]
) -> Candidates:
    """Return a record's positives and negatives, joined to the corpus if they are ids.

    Args:
        record: the record.
        parts: the parts of the source.
        pos: name of the column of positives.
        negatives: names of the columns of negatives.

    Raises:
        BadRowError: a value has another type, or the corpus has none of the ids.
        Dropped: the corpus has no positive or no negative of the record.
        DataError: the candidates are ids, and no corpus is named.
    """
    if not holds_document_ids(parts, (pos, *negatives)):
        positive: list[Key] = [*_identified(texts_of(record.get(pos), pos), record, parts)]
        negative: list[Key] = [
            text for name in negatives for text in texts_of(record.get(name), name)
        ]
        return Candidates(positive, negative, None, len(positive) + len(negative))
    ids = ids_of(record.get(pos), pos)
    others = [doc_id for name in negatives for doc_id in ids_of(record.get(name), name)]
    if not ids and not others:
        return Candidates([], [], None, 0)
    positive, negative, kept = parts.pos_and_neg_of(ids, others)
    return Candidates(positive, negative, kept, len(ids) + len(others))


def _identified(texts: Sequence[str], record: Mapping[str, Any], parts: Parts) -> Sequence[str]:
    """Return positives that carry their ids, if ids are to be kept and the record has them."""
    if not parts.keeps_ids:
        return texts
    given = next((record[name] for name in ID_COLUMNS if record.get(name) is not None), None)
    ids = given if isinstance(given, list) else [given]
    return list(map(with_id, texts, ids)) if len(ids) == len(texts) else texts


def id_and_query(
    record: Mapping[str, Any], parts: Parts, column: str, query_id: Any, *, names_ids: bool
) -> tuple[Any, Any]:
    """Return the id and the text of a record's query; the id is None if the record has none.

    The column of the query holds its text, or only its id, as in files for sentence-transformers'
    ``resolve_ids``. It holds the text if another column has the id. Otherwise it may hold the id if
    the record names its documents by id too, or if the user names queries; the first records then
    show which.

    Args:
        record: the record.
        parts: the parts of the source; remembers what the column holds, for each file.
        column: name of the column of the query.
        query_id: the query's id in another column; None if there is none.
        names_ids: whether the record names its documents by id.

    Raises:
        BadRowError: the id is missing, or of another type.
        Dropped: the queries do not have the id.
        DataError: the column holds ids, and no queries are named.
    """
    if query_id is not None or not (names_ids or parts.texts_of_queries is not None):
        return query_id, record.get(column)
    key = (_path(parts), ("ids of queries", column))
    if key not in parts.known_as_ids:
        parts.known_as_ids[key] = are_query_ids(parts, _first_values(parts, (column,)))
    if parts.known_as_ids[key]:
        return parts.query_of(record.get(column))
    return None, record.get(column)


def are_query_ids(parts: Parts, values: Sequence[Any]) -> bool:
    """Return whether queries, given those of the first rows, are ids."""
    if are_ids(values):
        return True
    if parts.texts_of_queries is None or not values:
        return False
    ids = [document_id(value, "id") for value in values if isinstance(value, str) or is_id(value)]
    return nearly_all(sum(query_id in parts.queries for query_id in ids), len(values))


def relevant_ids(record: Mapping[str, Any], parts: Parts, pos: str) -> list[str]:
    """Return the document ids in a record's column of positives; [] if it holds texts."""
    return ids_of(record.get(pos), pos) if holds_document_ids(parts, (pos,)) else []
