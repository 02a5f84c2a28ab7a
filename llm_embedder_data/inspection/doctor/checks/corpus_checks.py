"""Checks of a corpus: passages that repeat under another id, and passages of almost no text."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.inspection.doctor.checks.row_checks import is_first
from llm_embedder_data.inspection.doctor.results.findings import (
    MOST_EXAMPLES,
    Check,
    Finding,
    finding,
)
from llm_embedder_data.inspection.doctor.texts.flat_texts import FlatTexts
from llm_embedder_data.inspection.doctor.texts.kept_rows import texts_of_passages
from llm_embedder_data.inspection.doctor.texts.normal_texts import normal_texts
from llm_embedder_data.rows.corpora import Corpus

_SHORT = 2  # characters


def check_corpus(corpus: Corpus) -> dict[Check, Finding]:
    """Return the findings in a corpus, by check."""
    fingerprints, short = [], []
    for texts in texts_of_passages(corpus):
        fingerprints.append(normal_texts(FlatTexts.of(texts)).fingerprints())
        short.append(np.array([len(text.strip()) <= _SHORT for text in texts], bool))
    is_repeated, is_short = ~is_first(np.concatenate(fingerprints)), np.concatenate(short)
    kept = np.asarray(corpus.kept)
    return {
        "duplicate_passages": _finding(corpus, kept[is_repeated]),
        "short_texts": _finding(corpus, kept[is_short]),
    }


def _finding(corpus: Corpus, rows: NDArray[np.int64]) -> Finding:
    return finding(corpus, rows, corpus.texts(rows[:MOST_EXAMPLES]) if len(rows) else [])
