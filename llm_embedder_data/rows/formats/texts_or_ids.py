"""Rows whose passages may be texts or document ids, in formats that do not say which.

Triples, arrays and labelled passages usually hold texts, but some files hold ids of documents in
the same columns. The first rows show which, by the rules of
:mod:`~llm_embedder_data.rows.formats.passage_ids`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice

from llm_embedder_data.rows.formats.format import Reader
from llm_embedder_data.rows.formats.parts import Parts
from llm_embedder_data.rows.formats.passage_ids import are_document_ids, are_query_ids
from llm_embedder_data.rows.records.raw_files import LOOKED_AT
from llm_embedder_data.rows.schema.canonical_rows import BadRowError, Dropped, Row

_SIDES = ("pos", "neg", "candidates")


def texts_or_ids(read: Reader) -> Reader:
    """Return a reader that replaces ids by documents of the corpus, if the passages are ids.

    Ids without a corpus are an error: nobody wants to train on "460230" as a text.

    Args:
        read: yields training rows and takes their passages for texts.
    """

    def joined(parts: Parts) -> Iterator[Row]:
        located = ((row, parts.at) for row in read(parts))
        first = list(islice(located, LOOKED_AT))
        passages = [passage for row, _ in first for side in _SIDES for passage in row[side] or ()]
        are_ids = are_document_ids(parts, passages)
        queries = [row["query"] for row, _ in first if row["query_id"] is None]
        # Rows that name their documents by id may name their queries by id too, unless they have a
        # column of query ids.
        queries_are_ids = are_ids and are_query_ids(parts, queries)
        for row, parts.at in chain(first, located):
            if not are_ids:
                yield row
                continue
            try:
                if queries_are_ids and row["query_id"] is None:
                    row["query_id"], row["query"] = parts.query_of(row["query"])
                yield _of_documents(row, parts)
            except (BadRowError, Dropped) as error:
                parts.leave_out(error)

    return joined


def _of_documents(row: Row, parts: Parts) -> Row:
    """Replace the ids of a row by documents, and leave out the scores of unknown documents.

    Raises:
        BadRowError: the corpus has none of the row's documents.
        Dropped: the corpus has no positive or no negative of the row.
    """
    if row["candidates"]:
        row["candidates"], kept = parts.candidates_of(row["candidates"])
    else:
        row["pos"], row["neg"], kept = parts.pos_and_neg_of(row["pos"], row["neg"])
    if row["teacher_scores"] is not None:
        row["teacher_scores"] = [row["teacher_scores"][position] for position in kept]
    return row
