"""Names of columns by which the first line of delimited text is recognized as a header."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

# A line with two of them is a header; case and surrounding white space are ignored.
HEADER_NAMES = frozenset(
    (
        *("query", "question", "anchor", "q", "sentence1", "sentence2", "sent0", "sent1", "sent2"),
        *("sentence_1", "sentence_2", "text1", "text2", "text_1", "text_2", "text", "text_b"),
        *("text_a", "premise", "hypothesis", "pos", "positive", "positives", "neg", "negative"),
        *("negatives", "hard_neg", "hard_negative", "hard_negatives", "answer", "answers"),
        *("response", "rejected_response", "rejected", "passage", "passages", "document"),
        *("documents", "doc", "docs", "label", "labels", "score", "scores", "similarity"),
        *("query-id", "corpus-id", "query_id", "queryid", "doc_id", "docid", "document_id"),
        *("corpus_id", "passage_id", "qid", "pid", "did", "q_id", "id", "_id", "idx", "index"),
        *("title", "contents", "content", "body", "url", "document_content", "split", "dataset"),
        *("filename", "genre", "year", "sid", "task", "rank", "relevance", "rel", "grade"),
        *("instruction", "prompt", "type", "document_ids", "positive_ids", "negative_ids"),
        *("teacher_scores", "pos_scores", "neg_scores", "query_text", "iteration", "subtopic"),
        *("gold_label", "entailment", "contradiction", "history", "context", "tag"),
        *("question1", "question2", "question_1", "question_2", "is_duplicate", "qid1", "qid2"),
        *("sentence_a", "sentence_b", "sentence", "claim", "evidence", "is_paraphrase"),
        *("entailment_label", "entailment_judgment", "pair_id", "pairid"),
    )
)
# A line of a single cell is a header if the cell is one of these.
_OF_ONE_COLUMN = {"query", "question", "text", "passage", "document", "contents", "sentence"}
_NUMBERED = re.compile(r"(neg|negative|hard_neg|hard_negative|pos|positive)_?\d+")


def n_known(cells: Sequence[str]) -> int:
    """Return how many different cells of a line are known names of columns."""
    names = [cell.strip().lower() for cell in cells]
    return len({name for name in names if name in HEADER_NAMES or _NUMBERED.fullmatch(name)})


def is_header(cells: Sequence[str], given: Collection[str] = ()) -> bool:
    """Return whether a line is a header: it has a name that the user gave, or two known names.

    Args:
        cells: the cells of the first line.
        given: the names of columns that the user gave; ``a.b`` is the part ``b`` of column ``a``.
    """
    names = {cell.strip() for cell in cells}
    if any(name in names or name.partition(".")[0] in names for name in given):
        return True
    if len(cells) == 1:
        return cells[0].strip().lower() in _OF_ONE_COLUMN
    return n_known(cells) >= 2


def column_names(cells: Sequence[str]) -> tuple[str, ...]:
    """Return a header's names without surrounding white space.

    A column without a name is called ``column_1``, or what its number is.

    Raises:
        ValueError: a name appears twice.
    """
    names = [cell.strip() or f"column_{number}" for number, cell in enumerate(cells, 1)]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(
                f"its header names the column {name!r} twice (rename one, or take it out)"
            )
    return tuple(names)
