"""LLM-Embedder's rows, which are this package's own: query with pos and neg, or history.

``history`` (also ``candidates``) holds candidates without labels; so does ``neg`` where there is no
``pos`` and a teacher chooses. Eval rows name the relevant documents by their rows in the corpus
(``pos_index``), or by id and grade (``relevant``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm_embedder_data.rows.columns.instructions import unknown_sides
from llm_embedder_data.rows.formats.format import Format, each, is_text, most_are
from llm_embedder_data.rows.formats.judgments import grade_of, relevant_row
from llm_embedder_data.rows.formats.parts import Parts
from llm_embedder_data.rows.formats.passage_ids import (
    Sides,
    id_and_query,
    pos_and_neg,
    relevant_ids,
)
from llm_embedder_data.rows.records.raw_files import RawFile
from llm_embedder_data.rows.schema.canonical_rows import (
    BadRowError,
    Dropped,
    Row,
    ids_of,
    shown,
    train_row,
)

_IDS = ("query_id", "qid", "id", "_id")


def _recognizes(file: RawFile) -> bool:
    queries = file.values("query")
    if "query" not in file.fields or (queries and not most_are(queries, is_text)):
        return False
    own = {"pos", "neg", "history", "candidates", "pos_index", "relevant"}
    return bool(own & set(file.fields))


def own_id(record: Mapping[str, Any]) -> Any:
    """The query's id, by any of its names; None where it has none."""
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
        found = Sides(*parts.sides(positive, negative), len(positive) + len(negative))
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
        record, parts, "query", own_id(record), names_ids=found.kept is not None
    )
    return train_row(
        query,
        pos,
        neg,
        candidates=candidates,
        scores=parts.without_scores(scores, found.scores(scores, "teacher_scores")),
        query_id=query_id,
        query_instruction=given.get("query"),
        key_instruction=given.get("key"),
        task=record.get("task"),
    )


def _teacher_may_choose(record: Mapping[str, Any]) -> bool:
    """Whether a record without positives has scores, or answers by which a teacher scores.

    LLM-Embedder's lrlm rows are such: their ``neg`` are the chunks among which the teacher chooses.
    """
    return any(record.get(name) is not None for name in ("teacher_scores", "answers", "answer"))


def _eval(record: Mapping[str, Any], parts: Parts) -> Row:
    relevant = record.get("relevant")
    query_id, query = id_and_query(
        record, parts, "query", own_id(record), names_ids=relevant is not None or "pos" in record
    )
    if relevant is not None:
        grades = _grades(relevant)
        if not grades:
            raise Dropped("queries without judgments")
        row = relevant_row(query, query_id, list(grades), parts)
        row["relevant"] = {one: max(grades[one], 0) for one in row["relevant"]}
        if record.get("candidates") is not None:
            row["candidates"] = ids_of(record["candidates"], "candidates")
        if record.get("instruction") is not None:
            row["instruction"] = record["instruction"]
        return _with_answers(row, record)
    ids = _of_lines(record, parts, "pos_index") or relevant_ids(record, parts, "pos")
    if not ids and record.get("pos") is not None and "pos_index" not in record:
        raise BadRowError("pos: its passages are texts, and eval rows name documents (pos_index)")
    return _with_answers(relevant_row(query, query_id, ids, parts), record)


def _with_answers(row: Row, record: Mapping[str, Any]) -> Row:
    """Add the answers of a record, if they are texts; other data sets have other answers."""
    answers = record.get("answers")
    answers = [answers] if isinstance(answers, str) else answers
    if isinstance(answers, list) and all(isinstance(answer, str) for answer in answers):
        row["answers"] = answers
    return row


def _of_lines(record: Mapping[str, Any], parts: Parts, field: str) -> list[str]:
    """The ids of the documents that a record names by their rows in the corpus.

    Raises:
        BadRowError: a row that the corpus does not have.
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
    """Grades by document id: an object, or the pairs that a table's map is; nulls are left out.

    Ids alone, a list or one, have the grade 1.
    """
    if isinstance(relevant, list) and all(_is_graded(entry) for entry in relevant):
        relevant = {str(one): grade for one, grade in relevant}
    if isinstance(relevant, list) and not any(isinstance(one, list | tuple) for one in relevant):
        return dict.fromkeys(ids_of(relevant, "relevant"), 1)
    if isinstance(relevant, str):
        return {relevant: 1} if relevant.strip() else {}
    if not isinstance(relevant, Mapping):
        raise BadRowError(
            f"relevant: expected grades by document id, or a list of ids, found {shown(relevant)}"
        )
    return {one: grade_of(grade) for one, grade in relevant.items() if grade is not None}


LLM_EMBEDDER = Format(
    name="llm_embedder",
    what="rows of query, pos and neg (or history), with teacher_scores",
    recognizes=_recognizes,
    train=each(_train),
    eval=each(_eval),
)
