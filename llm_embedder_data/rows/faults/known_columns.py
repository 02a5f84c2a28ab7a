"""Column names of common formats: which canonical field they may mean, and which look unread."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from difflib import SequenceMatcher

# Names that other formats use for a canonical field, the most common first.
_CALLED: dict[str, tuple[str, ...]] = {
    "query": (
        *("query", "question", "anchor", "query_text", "anchor_text", "only_query", "search_query"),
        *("sentence1", "sent1", "sent0", "text1", "sentence_1", "queries", "premise", "q"),
    ),
    "pos": (
        *("pos", "positive", "positives", "positive_passages", "positive_ctxs", "pos_doc"),
        *("relevant_passages", "relevant_docs", "positive_document_ids", "positive_messages"),
        *("answer", "answers", "response", "passage", "passages", "passage_text", "document"),
        *("documents", "docs", "doc", "sentence2", "sent2", "text2", "sentence_2", "hypothesis"),
        *("context", "text", "contents", "content", "text_b"),
    ),
    "neg": (
        *("neg", "negative", "negatives", "hard_negatives", "hard_negative", "hard_neg"),
        *("negative_passages", "hard_negative_ctxs", "negative_ctxs", "neg_doc"),
        *("rejected_response", "rejected", "rejected_messages", "negative_document_ids"),
    ),
    "history": ("history",),
    "key": ("key", "keys", "candidates", "passages", "documents", "docs"),
    "teacher_scores": ("teacher_scores", "scores", "teacher_score", "score"),
    "query_id": ("query_id", "qid", "q_id", "_id", "id", "query-id"),
    "task": ("task", "task_name", "task_type"),
    "pos_index": ("pos_index", "positive_index", "answer_index"),
    "text": ("text", "contents", "content", "passage", "document", "doc", "body", "passage_text"),
    "title": ("title", "titles", "head", "heading", "name"),
}

# Other names that known formats use, for none of these fields.
_KNOWN = {
    *("pos_scores", "neg_scores", "pos_score", "neg_score", "label", "labels", "ce_score"),
    *("relevance", "similarity", "document_score", "negatives_scores", "prompt", "query_prompt"),
    *("passage_prompt", "instruction", "query_instruction", "passage_instruction", "type"),
    *("docid", "doc_id", "document_id", "document_ids", "corpus_id", "corpus-id", "pid", "did"),
    *("gold_label", "is_duplicate", "is_paraphrase", "entailment_label", "entailment_judgment"),
    *("messages", "set", "corpus", "relevant_docs", "api_list", "supporting_facts", "paragraphs"),
}

# Words by which a longer name is known, such as "positive" in "positive_text".
_WORDS = {
    *("pos", "positive", "positives", "neg", "negative", "negatives", "query", "question"),
    *("anchor", "passage", "passages", "score", "scores", "label", "labels", "instruction"),
    *("prompt", "qid", "docid", "pid", "answer", "answers"),
}

# Fields of native files that are not read as rows, but by LLM-Embedder's evaluation, or by the
# commands ``score``, ``doctor`` and ``mine``. They are not reported as unread.
_FOR_OTHERS = {
    *("pos_index", "neg_index", "key_index", "answers", "answer", "context"),
    *("pos_id", "pos_ids", "positive_id", "positive_ids"),
}

# From this similarity on, a name is taken for a misspelling of another.
_NEAR = 0.8

# A word of letters, digits and some other characters, with a digit in it. A text such as "GPT-4"
# matches too, but rarely do all candidates of many rows. Very short words ("7", "p1") may be
# either, so at least one candidate must match _CERTAIN_ID too.
_ID = re.compile(r"(?=[^0-9]*[0-9])[A-Za-z0-9_.:/-]{1,40}")
_CERTAIN_ID = re.compile(r"[0-9]{3,}|.{5,}|(?=.*[0-9]).*([A-Za-z]{2}|[_:/]).*")


def look_alikes(found: Iterable[str], read: Collection[str]) -> list[str]:
    """Return the columns that are not read, but have canonical names or those of a known format.

    Args:
        found: the names of the file's columns.
        read: the names of the columns that are read.
    """
    found = list(found)
    is_native = len(set(found) & set(read)) > 1  # the query and at least one other field is read
    silent = {*read, *_FOR_OTHERS} if is_native else set(read)
    return [name for name in found if name not in silent and _is_known(name)]


def nearest_mapping(
    found: Sequence[str], needed: Iterable[str], *, least: float = 0.0
) -> dict[str, str]:
    """Return the most similar column for each field, {field: column}; no column is used twice.

    Args:
        found: the names of the file's columns.
        needed: canonical fields.
        least: the similarity that a column must exceed: 0 for any similarity, 2 for a name that a
            known format uses for the field.
    """
    left, mapping = list(found), {}
    for field in needed:
        similarity = {name: _similarity(name, field) for name in left}
        best = max(similarity, key=lambda name: similarity[name], default=None)
        if best is not None and similarity[best] > least:
            mapping[field] = best
            left.remove(best)
    return mapping


def as_line(mapping: Mapping[str, str]) -> str:
    """Return a mapping as it is written inside the braces of a YAML mapping."""
    return ", ".join(f"{field}: {name}" for field, name in mapping.items())


def naming_hint(found: Sequence[str], fields: Sequence[str]) -> str:
    """Return a hint on how a source names its columns, with the most similar columns as values.

    Args:
        found: the names of the file's columns that are not read yet.
        fields: canonical fields for which the source should name columns.
    """
    mapping = nearest_mapping(found, fields)
    example = {field: mapping.get(field, "COLUMN") for field in fields}
    return f"name them in the source, as in {{path: ..., {as_line(mapping or example)}}}"


def look_like_ids(texts: Collection[str]) -> bool:
    """Return whether all texts look like document ids, and at least one cannot be a word."""
    return all(map(_ID.fullmatch, texts)) and any(map(_CERTAIN_ID.fullmatch, texts))


# --------------------------------------------------------------------------------------------------


def _plain(name: str) -> str:
    """Return a name in lower case, with underscores in place of spaces and hyphens."""
    return re.sub(r"[\s-]+", "_", name.strip().lower())


def _is_known(name: str) -> bool:
    """Return whether a name is canonical, used by a known format, or similar to a canonical one."""
    plain = _plain(name)
    called = {known for names in _CALLED.values() for known in names}
    if plain in called or plain in _KNOWN or name in _KNOWN or _WORDS & set(plain.split("_")):
        return True
    if re.sub(r"_?\d+$", "", plain) in _WORDS:  # negative_1, pos2
        return True
    return any(
        SequenceMatcher(None, plain, field).ratio() >= _NEAR for field in _CALLED if len(plain) > 3
    )


def _similarity(name: str, field: str) -> float:
    """Return how similar a column's name is to a canonical field, from 0 (not at all) to 3."""
    plain, called = _plain(name), _CALLED.get(field, (field,))
    if plain in called:
        return 3.0 - called.index(plain) / len(called)
    words = set(plain.split("_"))
    shared = [i for i, known in enumerate(called) if known in words]
    if shared:
        return 1.0 - shared[0] / len(called) / 2
    ratio = SequenceMatcher(None, plain, field).ratio()
    return ratio / 2 if ratio >= 0.7 else 0.0
