"""Checks of a corpus: one passage under several ids, and passages of hardly any text."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.inspection.doctor.findings import (
    MOST_EXAMPLES,
    Check,
    Finding,
    finding,
)
from llm_embedder_data.inspection.doctor.flat_texts import FlatTexts
from llm_embedder_data.inspection.doctor.normal_texts import normal_texts
from llm_embedder_data.rows.corpora import Corpus

_ROWS_AT_ONCE = 8192
_SHORT = 2  # characters


def check_corpus(corpus: Corpus) -> dict[Check, Finding]:
    """The findings in a corpus, by check."""
    prints, short = [], []
    for start in range(0, len(corpus.kept), _ROWS_AT_ONCE):
        texts = corpus.texts(corpus.kept[start : start + _ROWS_AT_ONCE])
        prints.append(normal_texts(FlatTexts.of(texts)).fingerprints())
        short.append(np.array([len(text.strip()) <= _SHORT for text in texts], bool))
    seen, is_short = np.concatenate(prints), np.concatenate(short)
    _, first = np.unique(seen, return_index=True)
    is_repeat = np.ones(len(seen), bool)
    is_repeat[first] = False
    kept = np.asarray(corpus.kept)
    return {
        "duplicate_passages": _finding(corpus, kept[is_repeat]),
        "short_texts": _finding(corpus, kept[is_short]),
    }


def _finding(corpus: Corpus, rows: NDArray[np.int64]) -> Finding:
    return finding(corpus, rows, corpus.texts(rows[:MOST_EXAMPLES]) if len(rows) else [])
