"""LLM-Embedder's rows, which are also the native rows of this package: query, pos and neg.

A record for training, and two for evaluation::

    {"query": "what causes tides", "pos": ["Tides follow the moon."],
     "neg": ["Rain falls from clouds."], "teacher_scores": [9.1, -3.0], "query_id": 17}
    {"query": "what causes tides", "query_id": 17, "pos_index": [482]}
    {"query": "what causes tides", "query_id": 17, "relevant": {"d482": 2}}

A file is known by ``query`` and one of ``pos``, ``neg``, ``history``, ``candidates``, ``pos_index``
and ``relevant``. ``history`` (or ``candidates``) holds candidates that are not labelled. ``neg``
does too if there is no ``pos``, but teacher scores or answers by which a teacher can choose.
``teacher_scores`` has a score for each of ``pos`` and then ``neg``, or for each of the unlabelled
candidates. An eval row names its relevant documents by their row numbers in the corpus
(``pos_index``), or gives grades by document id (``relevant``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm_embedder_data.core.shown_values import shown
from llm_embedder_data.rows.columns.instructions import unknown_sides
from llm_embedder_data.rows.formats.format import Format, each_record, is_text, most_are
from llm_embedder_data.rows.formats.judgments import grade_of, relevant_row
from llm_embedder_data.rows.formats.parts import Parts
from llm_embedder_data.rows.formats.passage_ids import (
    Candidates,
    id_and_query,
    pos_and_neg,
    relevant_ids,
)
from llm_embedder_data.rows.records.raw_files import RawFile
from llm_embedder_data.rows.schema.canonical_rows import (
    BadRowError,
    Dropped,
    Row,
    document_id,
    ids_of,
    train_row,
)

_IDS = ("query_id", "qid", "id", "_id")


def _recognizes(file: RawFile) -> bool:
    queries = file.values("query")
    if "query" not in file.fields or (queries and not most_are(queries, is_text)):
        return False
    others = {"pos", "neg", "history", "candidates", "pos_index", "relevant"}
    return bool(others & set(file.fields))


def query_id_in(record: Mapping[str, Any]) -> Any:
    """Return the id of a record's query, by any of its names; None if it has none."""
    return next((record[name] for name in _IDS if record.get(name) is not None), None)


def _train(record: Mapping[str, Any], parts: Parts) -> Row:
    instruction = record.get("instruction")
    given = instruction if isinstance(instruction, Mapping) else {"query": instruction}
    if fault := unknown_sides(given, "instruction"):
        raise BadRowError(fault)
    unlabelled = next(
        (name for name in ("history", "candidates") if record.get(name) is not None), None
    )
    scores = record.get("teacher_scores")
    if unlabelled is None and not record.get("pos") and record.get("pos_index") is not None:
        positive, negative = (_of_lines(record, parts, f"{side}_index") for side in ("pos", "neg"))
        if not positive:
            raise Dropped("rows without a positive")
        found = Candidates(*parts.pos_and_neg_of(positive, negative), len(positive) + len(negative))
        pos, neg, candidates = found.pos, found.neg, None
    elif record.get("pos") or unlabelled is None:
        found = pos_and_neg(record, parts, "pos", ("neg",))
        pos, neg, candidates = found.pos, found.neg, None
        if not pos:
            if not neg or not _teacher_may_choose(record):
                raise Dropped("rows without a positive")
            neg, candidates = [], found.neg
    else:
        found = pos_and_neg(record, parts, unlabelled, ())
        if not found.pos:
            raise Dropped("rows without candidates")
        pos, neg, candidates = [], [], found.pos
    query_id, query = id_and_query(
        record, parts, "query", query_id_in(record), names_ids=found.kept is not None
    )
    return train_row(
        query,
        pos,
        neg,
        candidates=candidates,
        scores=parts.complete_scores(scores, found.scores(scores, "teacher_scores")),
        query_id=query_id,
        query_instruction=given.get("query"),
        key_instruction=given.get("key"),
        task=record.get("task"),
    )


def _teacher_may_choose(record: Mapping[str, Any]) -> bool:
    """Return whether a record without positives has scores, or answers by which to score.

    LLM-Embedder's rows for long-range language modelling (lrlm) have: their ``neg`` holds the
    chunks of a long text, among which the teacher chooses.
    """
    return any(record.get(name) is not None for name in ("teacher_scores", "answers", "answer"))


def _eval(record: Mapping[str, Any], parts: Parts) -> Row:
    relevant = record.get("relevant")
    query_id, query = id_and_query(
        record,
        parts,
        "query",
        query_id_in(record),
        names_ids=relevant is not None or "pos" in record,
    )
    if relevant is not None:
        grades = _grades(relevant)
        if not grades:
            raise Dropped("queries without judgments")
        row = relevant_row(query, query_id, list(grades), parts)
        row["relevant"] = {doc_id: max(grades[doc_id], 0) for doc_id in row["relevant"]}
        if record.get("candidates") is not None:
            row["candidates"] = ids_of(record["candidates"], "candidates")
        return _with_answers(row, record)
    ids = _of_lines(record, parts, "pos_index") or relevant_ids(record, parts, "pos")
    if not ids and record.get("pos") is not None and "pos_index" not in record:
        raise BadRowError("pos: its passages are texts, and eval rows name documents (pos_index)")
    return _with_answers(relevant_row(query, query_id, ids, parts), record)


def _with_answers(row: Row, record: Mapping[str, Any]) -> Row:
    """Add a record's ``answers`` to a row if they are texts, as in LLM-Embedder's files.

    In files of other projects a column of this name may hold something else.
    """
    answers = record.get("answers")
    answers = [answers] if isinstance(answers, str) else answers
    if isinstance(answers, list) and all(isinstance(answer, str) for answer in answers):
        row["answers"] = answers
    return row


def _of_lines(record: Mapping[str, Any], parts: Parts, field: str) -> list[str]:
    """Return the ids of documents that a record names by their row numbers in the corpus.

    Raises:
        BadRowError: the corpus has no such row.
    """
    rows = ids_of(record.get(field), field)
    if parts.texts_of_corpus is None or parts.ids_of_lines is None:
        return rows
    ids = parts.ids_of_lines
    for row in rows:
        if not (row.isascii() and row.isdigit() and len(row) < 19 and int(row) < len(ids)):
            raise BadRowError(f"{field}: the corpus has {len(ids):,} rows, and none is {row}")
    return [ids[int(row)] for row in rows]


def _is_graded(entry: Any) -> bool:
    return isinstance(entry, list | tuple) and len(entry) == 2


def _grades(relevant: Any) -> dict[str, float]:
    """Return grades by document id, without nulls.

    Args:
        relevant: an object {document id: grade}; a list of [document id, grade], as a map column of
            Parquet gives; or a document id, or a list of them, each of grade 1.
    """
    if isinstance(relevant, list) and all(_is_graded(entry) for entry in relevant):
        relevant = {document_id(doc_id, "relevant"): grade for doc_id, grade in relevant}
    if isinstance(relevant, list) and not any(
        isinstance(entry, list | tuple) for entry in relevant
    ):
        return dict.fromkeys(ids_of(relevant, "relevant"), 1)
    if isinstance(relevant, str):
        return {relevant: 1} if relevant.strip() else {}
    if not isinstance(relevant, Mapping):
        raise BadRowError(
            f"relevant: expected grades by document id, or a list of ids, found {shown(relevant)}"
        )
    return {doc_id: grade_of(grade) for doc_id, grade in relevant.items() if grade is not None}


LLM_EMBEDDER = Format(
    name="llm_embedder",
    what="rows of query, pos and neg (or history), with teacher_scores",
    recognizes=_recognizes,
    train=each_record(_train),
    eval=each_record(_eval),
)
