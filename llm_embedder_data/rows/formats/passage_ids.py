"""Whether the candidates of a file are texts, or ids of a corpus's documents.

Ids are integers; or nearly all candidates of the looked-at rows are one run of letters, digits and
``_ - . : /`` with a digit in it, under 40 characters. Chinese and Thai texts have no blanks either,
and class labels are one word: these are texts. Where a corpus is named, candidates are ids if it
has nearly all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llm_embedder_data.rows.formats.parts import Parts
from llm_embedder_data.rows.records.raw_files import RawFile
from llm_embedder_data.rows.schema.canonical_rows import Key, ids_of, scores_of, texts_of
from llm_embedder_data.rows.schema.identified_texts import with_id

# Columns of rows that hold texts, with the id of each positive.
ID_COLUMNS = ("pos_id", "pos_ids", "positive_id", "positive_ids")

_ID = re.compile(r"(?=\D*\d)[A-Za-z0-9_\-.:/]{1,39}", re.ASCII)
_NEARLY_ALL = 0.9


def is_id(value: Any) -> bool:
    """Whether a value has the shape of an id."""
    if isinstance(value, str):
        return _ID.fullmatch(value) is not None
    return isinstance(value, int) and not isinstance(value, bool)


def nearly_all(found: int, looked_at: int) -> bool:
    """Whether so many of the looked-at values are enough to know what all are."""
    return looked_at > 0 and found >= _NEARLY_ALL * looked_at


def are_ids(values: Iterable[Any]) -> bool:
    """Whether nearly all values have the shape of an id."""
    looked_at = list(values)
    return nearly_all(sum(map(is_id, looked_at)), len(looked_at))


def candidates_in(file: RawFile, columns: Sequence[str]) -> list[Any]:
    """The candidates of a file's first records, of all the named columns."""
    found: list[Any] = []
    for name in columns:
        for value in file.values(name):
            found.extend(value if isinstance(value, list) else [value])
    return [value for value in found if value is not None and value != ""]


def names_documents(parts: Parts, columns: Sequence[str]) -> bool:
    """Whether the candidates of the file that is being read are document ids."""
    key = (_path(parts), tuple(columns))
    if key not in parts.known_as_ids:
        parts.known_as_ids[key] = are_documents(parts, _first_values(parts, columns))
    return parts.known_as_ids[key]


def _path(parts: Parts) -> str:
    return parts.at[0] if parts.at is not None else parts.source


def _first_values(parts: Parts, columns: Sequence[str]) -> list[Any]:
    path = _path(parts)
    file = next((file for file in parts.files if file.path == path), None)
    return [] if file is None else candidates_in(file, columns)


def are_documents(parts: Parts, values: Sequence[Any]) -> bool:
    """Whether the candidates of the first rows are document ids."""
    if are_ids(values):
        return True
    if parts.texts_of_corpus is None or not values:
        return False
    plain = [str(value) for value in values if isinstance(value, str | int)]
    return nearly_all(sum(one in parts.documents for one in plain), len(values))


@dataclass(frozen=True, slots=True)
class Sides:
    """A record's positives and negatives.

    Attributes:
        pos: the positives: texts, or numbers of passages.
        neg: the negatives.
        kept: where they were ids, the places of the known ones among all; else None.
        n_given: how many candidates the record has.
    """

    pos: list[Key]
    neg: list[Key]
    kept: list[int] | None
    n_given: int

    def scores(self, given: Any, field: str = "scores") -> list[float] | None:
        """The scores of the candidates that are left; None where some have none.

        Args:
            given: the record's, of all its candidates.
            field: that holds them, for messages.

        Raises:
            BadRowError: there are more or fewer scores than candidates.
        """
        if given is None:
            return None
        if self.kept is not None and isinstance(given, list) and len(given) == self.n_given:
            given = [given[place] for place in self.kept]
            return scores_of((given, len(self.kept)), field=field)
        return scores_of((given, self.n_given), field=field)


def pos_and_neg(
    record: Mapping[str, Any], parts: Parts, pos: str, negatives: Sequence[str]
) -> Sides:
    """A record's positives and negatives, joined to the corpus where they are ids.

    Raises:
        BadRowError: a value of another type, or ids of which the corpus has none.
        Dropped: the corpus has none of one side.
        DataError: ids without a corpus.
    """
    if not names_documents(parts, (pos, *negatives)):
        positive: list[Key] = [*_identified(texts_of(record.get(pos), pos), record, parts)]
        negative: list[Key] = [
            text for name in negatives for text in texts_of(record.get(name), name)
        ]
        return Sides(positive, negative, None, len(positive) + len(negative))
    ids = ids_of(record.get(pos), pos)
    others = [one for name in negatives for one in ids_of(record.get(name), name)]
    if not ids and not others:
        return Sides([], [], None, 0)
    positive, negative, kept = parts.sides(ids, others)
    return Sides(positive, negative, kept, len(ids) + len(others))


def _identified(texts: Sequence[str], record: Mapping[str, Any], parts: Parts) -> Sequence[str]:
    """Return positives that know their ids, if these are asked for and the record has them."""
    if not parts.keeps_ids:
        return texts
    given = next((record[name] for name in ID_COLUMNS if record.get(name) is not None), None)
    ids = given if isinstance(given, list) else [given]
    return list(map(with_id, texts, ids)) if len(ids) == len(texts) else texts


def id_and_query(
    record: Mapping[str, Any], parts: Parts, column: str, own_id: Any, *, names_ids: bool
) -> tuple[Any, Any]:
    """The id and the text of a record's query; the column may hold the text, or the id alone.

    Files for sentence-transformers' ``resolve_ids`` have ids there. A record with an id of its own
    has the text. Otherwise ids are looked for where queries are given, or where the record names
    its documents by id too.

    Args:
        record: the record.
        parts: what it is read with.
        column: of the query.
        own_id: the query's id by the record's column of ids; None without one.
        names_ids: whether the record's documents are ids.

    Raises:
        Dropped: the queries do not have the id.
        DataError: the queries are ids, and none are given.
    """
    if own_id is not None or not (names_ids or parts.texts_of_queries is not None):
        return own_id, record.get(column)
    key = (_path(parts), ("ids of queries", column))
    if key not in parts.known_as_ids:
        parts.known_as_ids[key] = are_queries(parts, _first_values(parts, (column,)))
    if parts.known_as_ids[key]:
        return parts.query_of(record.get(column))
    return None, record.get(column)


def are_queries(parts: Parts, values: Sequence[Any]) -> bool:
    """Whether the queries of the first rows are ids."""
    if are_ids(values):
        return True
    if parts.texts_of_queries is None or not values:
        return False
    plain = [str(value) for value in values if isinstance(value, str | int)]
    return nearly_all(sum(one in parts.queries for one in plain), len(values))


def relevant_ids(record: Mapping[str, Any], parts: Parts, pos: str) -> list[str]:
    """The document ids among a record's positives; none where they are texts."""
    return ids_of(record.get(pos), pos) if names_documents(parts, (pos,)) else []
