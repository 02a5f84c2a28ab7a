"""Column names of common dataset formats: which of ours they may stand for, which look unread."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from difflib import SequenceMatcher

# Names that other formats use for a field of ours, the most common first.
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

# Other names that known formats use, which stand for none of these fields.
_KNOWN = {
    *("pos_scores", "neg_scores", "pos_score", "neg_score", "label", "labels", "ce_score"),
    *("relevance", "similarity", "document_score", "negatives_scores", "prompt", "query_prompt"),
    *("passage_prompt", "instruction", "query_instruction", "passage_instruction", "type"),
    *("docid", "doc_id", "document_id", "document_ids", "corpus_id", "corpus-id", "pid", "did"),
    *("messages", "set", "corpus", "relevant_docs", "api_list", "supporting_facts", "paragraphs"),
}

# Words that make a longer name known, such as "positive" in "positive_text".
_WORDS = {
    *("pos", "positive", "positives", "neg", "negative", "negatives", "query", "question"),
    *("anchor", "passage", "passages", "score", "scores", "label", "labels", "instruction"),
    *("prompt", "qid", "docid", "pid", "answer", "answers"),
}

# Fields beside a row's own that something else reads: LLM-Embedder's evaluation, ``score``, the
# doctor, and ``mine``.
_FOR_OTHERS = {
    *("pos_index", "neg_index", "key_index", "answers", "answer", "context"),
    *("pos_id", "pos_ids", "positive_id", "positive_ids"),
}

# The least similarity of a name and its misspelling.
_NEAR = 0.8

# One word of letters, digits and some signs, with a digit in it. A text such as "GPT-4" matches
# too, but not every candidate of many rows does. Very short ones ("7", "p1") may be words or ids.
_ID = re.compile(r"(?=[^0-9]*[0-9])[A-Za-z0-9_.:/-]{1,40}")
_CERTAIN_ID = re.compile(r"[0-9]{3,}|.{5,}|(?=.*[0-9]).*([A-Za-z]{2}|[_:/]).*")


def look_alikes(found: Iterable[str], read: Collection[str]) -> list[str]:
    """Return the columns of a file that have names of ours or of a known format, but are not read.

    Args:
        found: the names of the file's columns.
        read: the names of the columns that are read.
    """
    found = list(found)
    is_ours = len(set(found) & set(read)) > 1  # a query, and what belongs to it
    silent = {*read, *_FOR_OTHERS} if is_ours else set(read)
    return [name for name in found if name not in silent and _is_known(name)]


def nearest_mapping(
    found: Sequence[str], needed: Iterable[str], *, least: float = 0.0
) -> dict[str, str]:
    """Return the most similar column for each field of ours, {field: column}; none is used twice.

    Args:
        found: the names of the file's columns.
        needed: fields of ours.
        least: how similar a column must be: 0 for at all, 2 to have a name that formats use.
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
    """Return a mapping as a line of YAML."""
    return ", ".join(f"{field}: {name}" for field, name in mapping.items())


def naming_hint(found: Sequence[str], fields: Sequence[str]) -> str:
    """Return how a source names its columns, with the most similar columns in place.

    Args:
        found: the names of the file's columns that are free to be named.
        fields: fields of ours, of which the source should name some.
    """
    mapping = nearest_mapping(found, fields)
    example = {field: mapping.get(field, "COLUMN") for field in fields}
    return f"name them in the source, as in {{path: ..., {as_line(mapping or example)}}}"


def look_like_ids(texts: Collection[str]) -> bool:
    """Return whether all texts look like document ids, and at least one cannot be a word."""
    return all(map(_ID.fullmatch, texts)) and any(map(_CERTAIN_ID.fullmatch, texts))


# --------------------------------------------------------------------------------------------------


def _plain(name: str) -> str:
    """Return a name in lower case with underscores."""
    return re.sub(r"[\s-]+", "_", name.strip().lower())


def _is_known(name: str) -> bool:
    """Return whether a column has a name of ours, of a known format, or close to one of ours."""
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
    """Return how similar a column's name is to a field of ours: 0 for not at all, up to 3."""
    plain, called = _plain(name), _CALLED.get(field, (field,))
    if plain in called:
        return 3.0 - called.index(plain) / len(called)
    words = set(plain.split("_"))
    shared = [i for i, known in enumerate(called) if known in words]
    if shared:
        return 1.0 - shared[0] / len(called) / 2
    ratio = SequenceMatcher(None, plain, field).ratio()
    return ratio / 2 if ratio >= 0.7 else 0.0
