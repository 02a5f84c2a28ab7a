"""Teacher scores of whole rows: a line per row, with the scores in the order of its keys.

``llm-embedder-data score`` writes this file. A line holds ``query_id``, ``scores``, and ``digest``,
a hash of the scored texts. It shows whether the scores belong to a row.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Mapping, Sequence
from typing import Any

import xxhash

from llm_embedder_data.core.shown_values import shown
from llm_embedder_data.rows.records.raw_files import RawFile
from llm_embedder_data.rows.schema.canonical_rows import (
    LARGEST_SCORE,
    BadRowError,
    Row,
    document_id,
)


def keys_of(row: Row) -> list[str]:
    """Return a row's keys in the order of its scores: pos then neg, or the candidates."""
    return list(row["candidates"] or [*row["pos"], *row["neg"]])


def digest_of_texts(query: str, keys: Sequence[str]) -> str:
    """Return a hash (XXH3, 128 bits, hexadecimal) of a query and its keys, in their order."""
    return str(xxhash.xxh3_128_hexdigest(json.dumps([query, *keys]).encode()))


def holds_row_scores(file: RawFile) -> bool:
    """Return whether a file has scores of whole rows, and not of documents by id."""
    return "scores" in file.fields and not {"doc_id", "document_id"} & set(file.fields)


class RowScores:
    """Scores by row. A row is found by its texts; or by its query id, if a line has no digest."""

    def __init__(self) -> None:
        self._by_digest: dict[str, array[float] | None] = {}
        self._by_id: dict[str, array[float] | None] = {}
        self._ids_of_digests: set[str] = set()

    def __len__(self) -> int:
        return len(self._by_digest) + len(self._by_id)

    def add(self, value: Any) -> None:
        """Add a line of the file.

        Raises:
            BadRowError: it is not a line of scores, or it has no digest and is the second line for
                its query id.
        """
        if not isinstance(value, Mapping):
            raise BadRowError(f"expected an object with query_id and scores, found {shown(value)}")
        scores, given_id = _numbers(value.get("scores")), value.get("query_id")
        query_id = None if given_id is None else document_id(given_id, "query_id")
        digest = value.get("digest")
        if digest is not None:
            self._by_digest[str(digest)] = scores
            if query_id is not None:
                self._ids_of_digests.add(query_id)
            return
        if query_id is None:
            raise BadRowError("a line of scores has neither query_id nor digest")
        if query_id in self._by_id:
            raise BadRowError(
                f"query id {given_id!r} has scores in two lines, and they have no digest of the "
                "texts that would tell them apart"
            )
        self._by_id[query_id] = scores

    def of(self, row: Row) -> list[float] | None:
        """Return a row's scores, one per key; None if the scores in its line are null.

        Raises:
            BadRowError: the file has no line for the row's texts, or another number of scores.
        """
        keys, query_id = keys_of(row), row.get("query_id")
        digest = digest_of_texts(row["query"], keys)
        if digest in self._by_digest:
            scores = self._by_digest[digest]
        elif query_id is not None and str(query_id) in self._by_id:
            scores = self._by_id[str(query_id)]
        else:
            raise BadRowError(self._not_found(query_id))
        if scores is not None and len(scores) != len(keys):
            raise BadRowError(f"{len(scores)} scores for {len(keys)} keys")
        return None if scores is None else scores.tolist()

    def _not_found(self, query_id: Any) -> str:
        if query_id is None or str(query_id) not in self._ids_of_digests:
            return "it has no scores of this row"
        return f"its scores of query id {query_id!r} are those of other texts"


def _numbers(scores: Any) -> array[float] | None:
    if scores is None:
        return None
    if not isinstance(scores, list | tuple):
        raise BadRowError(f"scores: expected a list of numbers, found {shown(scores)}")
    for score in scores:
        is_number = isinstance(score, int | float) and not isinstance(score, bool)
        if not is_number or not abs(score) <= LARGEST_SCORE:
            raise BadRowError(f"scores: expected finite numbers of 32 bits, found {shown(score)}")
    return array("d", scores)
