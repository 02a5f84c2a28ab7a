"""FlagEmbedding's rows: query, pos, neg with pos_scores, neg_scores, prompt and type.

Embedder: ``prompt`` stands before the query; in rows of type symmetric_sts and
symmetric_clustering before the keys too. Reranker: ``prompt`` belongs to the pair, and is the
query's; query_prompt and passage_prompt name a side each. A file or a folder whose name ends in
``no_in_batch_neg`` is trained without in-batch negatives. A query of a file of type only_1neg has
one positive and one negative. A file has one type.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llm_embedder_data.rows.formats.format import Format, each, is_text, most_are
from llm_embedder_data.rows.formats.llm_embedder import own_id
from llm_embedder_data.rows.formats.parts import Parts
from llm_embedder_data.rows.formats.passage_ids import Sides, id_and_query, pos_and_neg
from llm_embedder_data.rows.records.raw_files import RawFile
from llm_embedder_data.rows.schema.canonical_rows import BadRowError, Dropped, Row, shown, train_row

TYPES = {
    "normal",
    "only_1neg",
    "symmetric_class",
    "symmetric_clustering",
    "symmetric_sts",
}
_KEYS_TOO = {"symmetric_sts", "symmetric_clustering"}
_MARKS = {"pos_scores", "neg_scores", "prompt", "query_prompt", "passage_prompt"}
ONE_NEGATIVE, _ITS_GROUP_SIZE = "only_1neg", 2
_SUFFIX = "no_in_batch_neg"


def in_batch_negatives_of(path: str | Path) -> bool | None:
    """Whether a file or folder is trained with in-batch negatives, by its name.

    Returns:
        False where the file's name (without endings such as ``.jsonl.gz``), or its folder's, ends
        in ``no_in_batch_neg``; None where the name says nothing.
    """
    path = Path(path)
    names = (path.name.split(".")[0], path.name, path.parent.name)
    return False if any(name.endswith(_SUFFIX) for name in names) else None


def _recognizes(file: RawFile) -> bool:
    fields = set(file.fields)
    if not {"query", "pos"} <= fields or "teacher_scores" in fields:
        return False
    queries = file.values("query")
    if queries and not most_are(queries, is_text):
        return False
    return bool(fields & _MARKS) or bool(
        TYPES & {shown(kind)[1:-1] for kind in file.values("type")}
    )


def _train(record: Mapping[str, Any], parts: Parts) -> Row:
    found = pos_and_neg(record, parts, "pos", ("neg",))
    if not found.pos:
        raise Dropped("rows without a positive")
    prompt, kind = _prompt(record, "prompt"), _type_of(record, parts)
    query_prompt, passage_prompt = (
        _prompt(record, "query_prompt"),
        _prompt(record, "passage_prompt"),
    )
    both = prompt if isinstance(kind, str) and kind in _KEYS_TOO else None
    query_id, query = id_and_query(
        record, parts, "query", own_id(record), names_ids=found.kept is not None
    )
    return train_row(
        query,
        found.pos,
        found.neg,
        scores=scores_by_side(record, found, parts),
        query_id=query_id,
        query_instruction=prompt if query_prompt is None else query_prompt,
        key_instruction=both if passage_prompt is None else passage_prompt,
        task=record.get("task"),
    )


def _type_of(record: Mapping[str, Any], parts: Parts) -> Any:
    """Return the type of a record, and note how many keys the queries of its file have.

    Raises:
        BadRowError: those of the file's first row have another number.
    """
    kind = record.get("type")
    size = _ITS_GROUP_SIZE if kind == ONE_NEGATIVE else None
    path = parts.source if parts.at is None else parts.at[0]
    first = parts.group_sizes.setdefault(path, size)
    if size != first:
        began = "another type" if first is None else f"'{ONE_NEGATIVE}'"
        raise BadRowError(
            f"type: {shown(kind)} in a file that began with {began}, and a query of type "
            f"'{ONE_NEGATIVE}' has two keys (write a file for each type)"
        )
    return kind


def _prompt(record: Mapping[str, Any], name: str) -> str | None:
    value = record.get(name)
    if value is not None and not isinstance(value, str):
        raise BadRowError(f"{name}: expected a string, found {shown(value)}")
    return value


def scores_by_side(record: Mapping[str, Any], found: Sides, parts: Parts) -> list[float] | None:
    """Scores of the positives and then the negatives; None where a list is missing."""
    given = [record.get(name) or None for name in ("pos_scores", "neg_scores")]
    if given == [None, None]:
        return None
    n_negatives = _length(record.get("neg"))
    if given[0] is None or (given[1] is None and n_negatives):
        return parts.without_scores(True, None)
    lists = [one if isinstance(one, list) else [] if one is None else [one] for one in given]
    wanted = (_length(record.get("pos")), n_negatives)
    for name, scores, n_candidates in zip(("pos", "neg"), lists, wanted, strict=True):
        if len(scores) != n_candidates:
            raise BadRowError(f"{name}_scores: {len(scores)} scores for {n_candidates} candidates")
    return parts.without_scores(True, found.scores([*lists[0], *lists[1]]))


def _length(value: Any) -> int:
    if isinstance(value, list):
        return len(value)
    return 0 if value is None or value == "" else 1


FLAGEMBEDDING = Format(
    name="flagembedding",
    what="FlagEmbedding's rows (query, pos, neg, pos_scores, neg_scores, prompt)",
    recognizes=_recognizes,
    train=each(_train),
)
