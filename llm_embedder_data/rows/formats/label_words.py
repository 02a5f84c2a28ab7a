"""What the label of a pair says in words: the pair matches, does not match, or is neutral."""

from __future__ import annotations

import re
from enum import Enum
from typing import Any

from llm_embedder_data.rows.files.class_names import NamedClass


class Verdict(Enum):
    """What a label says about a pair of texts."""

    MATCH = "a match"
    NO_MATCH = "no match"
    NEUTRAL = "neutral pairs"
    NO_LABEL = "pairs without a gold label"


_MATCH = (
    *("entailment", "entails", "entailed", "duplicate", "duplicates", "paraphrase", "paraphrases"),
    *("equivalent", "same", "similar", "match", "relevant", "related", "positive", "correct"),
    *("true", "yes", "support", "supports", "supported"),
)
_NO_MATCH = (
    *("contradiction", "contradicts", "contradict", "different", "dissimilar", "unrelated"),
    *("irrelevant", "negative", "incorrect", "false", "no", "mismatch", "refute", "refutes"),
    "refuted",
)
_NEUTRAL = ("neutral", "not_enough_info")
_BETWEEN = re.compile(r"[\W_]+")


def verdict_of(label: Any) -> Verdict | None:
    """Return what a label says in words; None for a number, and for words that are not known.

    Args:
        label: a text, or a number with the name of its class.
    """
    words = label.name if isinstance(label, NamedClass) else label
    if not isinstance(words, str):
        return None
    if words.strip() == "-":  # what SNLI writes if the annotators did not agree
        return Verdict.NO_LABEL
    name = _BETWEEN.sub("_", words.strip().lower()).strip("_").removeprefix("is_")
    if name in _NEUTRAL:
        return Verdict.NEUTRAL
    negated = re.sub("^(not|non|no)_(an?_)?", "", name)
    if negated in _MATCH:
        return Verdict.MATCH if negated == name else Verdict.NO_MATCH
    return Verdict.NO_MATCH if name in _NO_MATCH else None
