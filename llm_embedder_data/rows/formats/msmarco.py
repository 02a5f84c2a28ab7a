"""MS MARCO's files of tab-separated cells: triples of texts or ids, top1000, and documents.

Their lines, here with blanks for the tabs::

    what causes tides  Tides follow the moon.  Rain falls from clouds.     msmarco_triples
    17  482  90                                                            msmarco_id_triples
    17  482  what causes tides  Tides follow the moon.                     msmarco_top1000
    D482  https://tides.org  Tides  Tides follow the moon.                 msmarco_documents

The cells are: query, positive, negative, or the ids of these; query id, passage id, query, passage;
and document id, URL, title, body. The files have no header and are known by the number of cells and
by which of them look like ids, URLs or numbers. Lines with the same query become one row, in the
order of each query's first line.
"""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, cast

from llm_embedder_data.rows.formats.format import Format, most_are
from llm_embedder_data.rows.formats.judgments import (
    Grades,
    by_query,
    eval_rows,
    judged_eval,
    relevant_row,
    train_rows,
)
from llm_embedder_data.rows.formats.parts import Parts
from llm_embedder_data.rows.formats.passage_ids import are_ids, nearly_all
from llm_embedder_data.rows.formats.passage_texts import PassageTexts
from llm_embedder_data.rows.formats.texts_or_ids import texts_or_ids
from llm_embedder_data.rows.records.raw_files import RawFile
from llm_embedder_data.rows.schema.canonical_rows import (
    BadRowError,
    Dropped,
    Row,
    train_row,
)

# Queries whose passages are looked up together, which takes a fraction of the time.
_LOOKED_UP_AT_ONCE = 1000

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def cells(file: RawFile, n_cells: int) -> list[list[str]] | None:
    """Return the first rows of a file without header that have ``n_cells`` cells.

    None if most of the rows have another number of cells.
    """
    rows = file.head
    if not rows or file.container not in ("cells", "fields"):
        return None

    def fits(row: Any) -> bool:
        is_list = isinstance(row, list) and len(row) == n_cells
        return is_list and all(isinstance(cell, str) for cell in row)

    return [row for row in rows if fits(row)] if most_are(rows, fits) else None


def looks_like_run(rows: Sequence[Sequence[str]]) -> bool:
    """Return whether third cells count 1, 2, 3... for each query, as the ranks of a run do."""
    count: dict[str, int] = {}
    for query, _, rank in rows:
        count[query] = count.get(query, 0) + 1
        if rank != str(count[query]):
            return False
    return names_each_once(rows)


def names_each_once(rows: Sequence[Sequence[str]]) -> bool:
    """Whether no query has a document twice, as in judgments and runs.

    Triples repeat a positive for each of its negatives.
    """
    return len({(query, document) for query, document, _ in rows}) == len(rows)


def three_ids(file: RawFile) -> list[list[str]] | None:
    """Return the first rows of a file whose lines are three ids, or two ids and a number.

    Returns:
        The rows, or None for another file.
    """
    rows = cells(file, 3)
    if rows is None or any(" " in cell.strip() for row in rows for cell in row):
        return None
    return rows if are_ids(cell for row in rows for cell in row[1:]) else None


def _is_triples(file: RawFile) -> bool:
    return cells(file, 3) is not None and three_ids(file) is None


def _is_id_triples(file: RawFile) -> bool:
    rows = three_ids(file)
    return rows is not None and not looks_like_run(rows)


def _grouped(parts: Parts) -> dict[str, tuple[dict[str, None], dict[str, None]]]:
    """Return ``{query: (positives, negatives)}``, in the order of the file.

    A passage that is both positive and negative of a query is kept as a positive, and counted.
    """
    found: dict[str, tuple[dict[str, None], dict[str, None]]] = {}
    for record in parts.records():
        try:
            query, positive, negative = _triple(record.value)
        except BadRowError as error:
            parts.leave_out(error)
            continue
        sides = found.get(query)
        if sides is None:
            parts.note_query(query)
            sides = found[query] = {}, {}
        sides[0][positive] = None
        sides[1][negative] = None
    for pos, neg in found.values():
        for passage in pos.keys() & neg.keys():
            del neg[passage]
            parts.counts["passages that are positive and negative of one query"] += 1
    return found


def _triples(parts: Parts) -> Iterator[Row]:
    for query, (pos, neg) in _grouped(parts).items():
        parts.go_to_query(query)
        yield train_row(query, pos, neg)


def _id_triples(parts: Parts) -> Iterator[Row]:
    groups = iter(_grouped(parts).items())
    while block := list(islice(groups, _LOOKED_UP_AT_ONCE)):
        parts.look_up(passage for _, sides in block for side in sides for passage in side)
        for query_id, (positive, negative) in block:
            parts.go_to_query(query_id)
            try:
                original_id, query = parts.query_of(query_id)
                pos, neg, _ = parts.pos_and_neg_of(list(positive), list(negative))
                yield train_row(query, pos, neg, query_id=original_id)
            except (BadRowError, Dropped) as error:
                parts.leave_out(error)


def _eval_of_id_triples(parts: Parts) -> Iterator[Row]:
    if parts.judgments_given is not None:
        yield from judged_eval(parts)
        return
    for query_id, (positive, _) in _grouped(parts).items():
        parts.go_to_query(query_id)
        try:
            original_id, query = parts.query_of(query_id)
            yield relevant_row(query, original_id, list(positive), parts)
        except (BadRowError, Dropped) as error:
            parts.leave_out(error)


def _triple(value: object) -> Sequence[str]:
    with suppress(TypeError):  # a value that is no text
        if type(value) is list and len(value) == 3 and all(map(str.strip, value)):
            return value  # nearly all of a file's many lines
    if not isinstance(value, list) or len(value) != 3:
        n_cells = len(value) if isinstance(value, list) else 0
        raise BadRowError(f"expected three cells, found {n_cells}")
    for cell in value:
        if not isinstance(cell, str) or not cell or cell.isspace():
            raise BadRowError("a cell is empty")
    return value


MSMARCO_TRIPLES = Format(
    name="msmarco_triples",
    what="lines of query, positive and negative",
    recognizes=_is_triples,
    train=texts_or_ids(_triples),
)
MSMARCO_ID_TRIPLES = Format(
    name="msmarco_id_triples",
    what="lines of query id, positive id and negative id",
    recognizes=_is_id_triples,
    train=_id_triples,
    eval=_eval_of_id_triples,
)


def _is_top1000(file: RawFile) -> bool:
    rows = cells(file, 4)
    if rows is None or _is_documents(file):
        return False
    has_ids = all(not any(sign.isspace() for sign in cell) for row in rows for cell in row[:2])
    return has_ids and not are_ids(row[3] for row in rows) and not _are_numbers(rows)


def _are_numbers(rows: Sequence[Sequence[str]]) -> bool:
    return all(_NUMBER.fullmatch(row[3].strip()) for row in rows)


def _by_top1000(parts: Parts) -> dict[str, tuple[str, dict[str, str]]]:
    """Return ``{query id: (query, {passage id: passage})}``."""
    found: dict[str, tuple[str, dict[str, str]]] = {}
    for record in parts.records():
        value = record.value
        if not isinstance(value, list) or len(value) != 4 or not all(map(_is_full, value)):
            parts.leave_out(BadRowError("expected four cells: qid, pid, query, passage"))
            continue
        query_id, passage_id, query, passage = value
        found.setdefault(query_id, (query, {}))[1][passage_id] = passage
    return found


def _is_full(cell: object) -> bool:
    return isinstance(cell, str) and bool(cell.strip())


def _top1000(parts: Parts) -> Iterator[Row]:
    found = _by_top1000(parts)
    if parts.judgments_given is None:
        for query_id, (query, passages) in found.items():
            yield train_row(query, candidates=passages.values(), query_id=query_id)
        return
    judged = _grades_of(found, parts)
    corpus: Mapping[str, str] = parts.documents if parts.texts_of_corpus is not None else {}
    passages_here = {
        doc_id: text for _, passages in found.values() for doc_id, text in passages.items()
    }
    # A corpus adds judged documents that the file does not have. ChainMap only reads it.
    parts.documents = ChainMap(passages_here, cast(dict[str, str], corpus))
    run = {query_id: dict.fromkeys(passages) for query_id, (_, passages) in found.items()}
    yield from train_rows(judged, parts, run)


def _grades_of(found: Mapping[str, tuple[str, dict[str, str]]], parts: Parts) -> Grades:
    """Return the user's judgments of the queries of a top1000; queries without any are counted."""
    assert parts.judgments_given is not None
    parts.queries = {query_id: (query_id, query) for query_id, (query, _) in found.items()}
    grades = by_query(parts.judgments_given(), parts)
    without = sum(query_id not in grades for query_id in found)
    if without:
        parts.counts["queries without judgments"] += without
    return {query_id: graded for query_id, graded in grades.items() if query_id in found}


def _eval_of_top1000(parts: Parts) -> Iterator[Row]:
    if parts.judgments_given is None:
        yield from judged_eval(parts)
        return
    found = _by_top1000(parts)
    candidates = {query_id: list(passages) for query_id, (_, passages) in found.items()}
    yield from eval_rows(_grades_of(found, parts), parts, candidates)


TOP1000 = Format(
    name="msmarco_top1000",
    what="lines of qid, pid, query and passage",
    recognizes=_is_top1000,
    train=_top1000,
    eval=_eval_of_top1000,
)


def _is_documents(file: RawFile) -> bool:
    rows = cells(file, 4)
    return rows is not None and nearly_all(sum("://" in row[1] for row in rows), len(rows))


def _documents(parts: Parts) -> Iterator[Row]:
    passages = PassageTexts(parts)
    for record in parts.records():
        try:
            if not isinstance(record.value, list) or len(record.value) != 4:
                raise BadRowError("expected four cells: docid, url, title, body")
            yield passages.row(record.value)
        except BadRowError as error:
            parts.leave_out(error)
    passages.check_fields()


MSMARCO_DOCUMENTS = Format(
    name="msmarco_documents",
    what="lines of docid, url, title and body",
    recognizes=_is_documents,
    corpus=_documents,
)
