"""FlagEmbedding's rows, for its embedders and its rerankers: query, pos and neg with scores.

A record::

    {"query": "what causes tides", "pos": ["Tides follow the moon."],
     "neg": ["Rain falls from clouds."], "pos_scores": [9.1], "neg_scores": [-3.0],
     "prompt": "Represent this question: ", "type": "normal"}

A file is known by ``query`` and ``pos`` with a column of scores or prompts, or with a ``type`` of
TYPES. The scores are a teacher's. ``prompt`` is the instruction of the query; in rows of the types
``symmetric_sts`` and ``symmetric_clustering`` it is that of the keys too. ``query_prompt`` and
``passage_prompt``, which files for rerankers have, are the instructions of query and keys. All rows
of a file have one type; with ``only_1neg``, a query is trained with one positive and one negative.
A file or folder whose name ends in ``no_in_batch_neg`` is trained without in-batch negatives.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llm_embedder_data.core.shown_values import shown
from llm_embedder_data.rows.files.class_names import NamedClass
from llm_embedder_data.rows.formats.format import Format, each_record, is_text, most_are
from llm_embedder_data.rows.formats.llm_embedder import query_id_in
from llm_embedder_data.rows.formats.parts import Parts
from llm_embedder_data.rows.formats.passage_ids import Candidates, id_and_query, pos_and_neg
from llm_embedder_data.rows.records.raw_files import RawFile
from llm_embedder_data.rows.schema.canonical_rows import BadRowError, Dropped, Row, train_row

TYPES = {
    "normal",
    "only_1neg",
    "symmetric_class",
    "symmetric_clustering",
    "symmetric_sts",
}
# The types whose prompt is that of the keys too.
_PROMPT_OF_KEYS = {"symmetric_sts", "symmetric_clustering"}
_DISTINCTIVE = {"pos_scores", "neg_scores", "prompt", "query_prompt", "passage_prompt"}
# The type whose queries have two keys: one positive and one negative.
ONE_NEGATIVE, _TWO_KEYS = "only_1neg", 2
_SUFFIX = "no_in_batch_neg"


def in_batch_negatives_of(path: str | Path) -> bool | None:
    """Return whether a file or folder is trained with in-batch negatives, by its name.

    Returns:
        False if the name of the file (without endings such as ``.jsonl.gz``) or of its folder ends
        in ``no_in_batch_neg``; otherwise None, since the name says nothing.
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
    types = {shown(_name_of(kind))[1:-1] for kind in file.values("type")}  # without the quotes
    return bool(fields & _DISTINCTIVE) or bool(types & TYPES)


def _name_of(kind: Any) -> Any:
    return kind.name if isinstance(kind, NamedClass) else kind


def _train(record: Mapping[str, Any], parts: Parts) -> Row:
    found = pos_and_neg(record, parts, "pos", ("neg",))
    if not found.pos:
        raise Dropped("rows without a positive")
    prompt, kind = _prompt(record, "prompt"), _type_of(record, parts)
    query_prompt = _prompt(record, "query_prompt")
    passage_prompt = _prompt(record, "passage_prompt")
    prompt_of_keys = prompt if isinstance(kind, str) and kind in _PROMPT_OF_KEYS else None
    query_id, query = id_and_query(
        record, parts, "query", query_id_in(record), names_ids=found.kept is not None
    )
    return train_row(
        query,
        found.pos,
        found.neg,
        scores=scores_by_side(record, found, parts),
        query_id=query_id,
        query_instruction=prompt if query_prompt is None else query_prompt,
        key_instruction=prompt_of_keys if passage_prompt is None else passage_prompt,
        task=record.get("task"),
    )


def _type_of(record: Mapping[str, Any], parts: Parts) -> Any:
    """Return the type of a record, and note the number of keys per query of its file.

    Raises:
        BadRowError: the type asks for another number than that of the file's first row.
    """
    kind = _name_of(record.get("type"))
    size = _TWO_KEYS if kind == ONE_NEGATIVE else None
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


def scores_by_side(
    record: Mapping[str, Any], found: Candidates, parts: Parts
) -> list[float] | None:
    """Return ``pos_scores`` and ``neg_scores`` as one list, of the known candidates.

    Returns:
        The scores, or None if a list is missing, or a score is missing or not finite.

    Raises:
        BadRowError: there are more or fewer scores than candidates, or one is no number.
    """
    given = [record.get(name) or None for name in ("pos_scores", "neg_scores")]
    if given == [None, None]:
        return None
    n_negatives = _length(record.get("neg"))
    if given[0] is None or (given[1] is None and n_negatives):
        return parts.complete_scores(True, None)
    lists = [
        scores if isinstance(scores, list) else [] if scores is None else [scores]
        for scores in given
    ]
    lengths = (_length(record.get("pos")), n_negatives)
    for name, scores, n_candidates in zip(("pos", "neg"), lists, lengths, strict=True):
        if len(scores) != n_candidates:
            raise BadRowError(f"{name}_scores: {len(scores)} scores for {n_candidates} candidates")
    return parts.complete_scores(True, found.scores([*lists[0], *lists[1]]))


def _length(value: Any) -> int:
    """Return the number of candidates in a field: a list, one candidate, or nothing."""
    if isinstance(value, list):
        return len(value)
    return 0 if value is None or value == "" else 1


FLAGEMBEDDING = Format(
    name="flagembedding",
    what="FlagEmbedding's rows (query, pos, neg, pos_scores, neg_scores, prompt)",
    recognizes=_recognizes,
    train=each_record(_train),
)
