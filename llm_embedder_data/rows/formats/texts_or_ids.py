"""Rows of formats whose passages are texts, and in some people's files ids of a corpus's documents.

Triples, arrays and labelled passages have no column that says which of the two they hold. The first
rows show it, by the rules of :mod:`~llm_embedder_data.rows.formats.passage_ids`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice

from llm_embedder_data.rows.formats.format import Reader
from llm_embedder_data.rows.formats.parts import Parts
from llm_embedder_data.rows.formats.passage_ids import are_documents, are_queries
from llm_embedder_data.rows.records.raw_files import LOOKED_AT
from llm_embedder_data.rows.schema.canonical_rows import BadRowError, Dropped, Row

_SIDES = ("pos", "neg", "candidates")


def texts_or_ids(read: Reader) -> Reader:
    """Return a reader whose rows are joined to the corpus where their passages are ids.

    Ids without a corpus are an error: nobody wants to train on "460230" as a text.

    Args:
        read: yields training rows of texts.
    """

    def joined(parts: Parts) -> Iterator[Row]:
        located = ((row, parts.at) for row in read(parts))
        first = list(islice(located, LOOKED_AT))
        passages = [one for row, _ in first for side in _SIDES for one in row[side] or ()]
        are_ids = are_documents(parts, passages)
        queries = [row["query"] for row, _ in first if row["query_id"] is None]
        # A row that names its documents by id, and has no other id of its query, may do so too.
        are_query_ids = are_ids and are_queries(parts, queries)
        for row, parts.at in chain(first, located):
            if not are_ids:
                yield row
                continue
            try:
                if are_query_ids and row["query_id"] is None:
                    row["query_id"], row["query"] = parts.query_of(row["query"])
                yield _of_documents(row, parts)
            except (BadRowError, Dropped) as error:
                parts.leave_out(error)

    return joined


def _of_documents(row: Row, parts: Parts) -> Row:
    """A row whose passages are ids, with the documents that the corpus has.

    Raises:
        BadRowError: it has none of them.
        Dropped: it has none of a side.
    """
    if row["candidates"]:
        row["candidates"], kept = parts.joined(row["candidates"])
    else:
        row["pos"], row["neg"], kept = parts.sides(row["pos"], row["neg"])
    if row["teacher_scores"] is not None:
        row["teacher_scores"] = [row["teacher_scores"][place] for place in kept]
    return row
