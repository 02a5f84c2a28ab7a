"""Looking up the keys of a batch in the corpora."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from llm_embedder_data.inspection.locations import Location, located
from llm_embedder_data.rows.corpora import Corpus

# The texts of this many passages are in memory at a time.
_PASSAGES_AT_ONCE = 1 << 14

# Corpora with more passages are not searched: a search would take more than a minute.
MOST_PASSAGES = 4_000_000


def passages_with(
    texts: Iterable[str], corpora: Mapping[str, Corpus]
) -> dict[str, tuple[str, Location]]:
    """Return, for each text, the name of a corpus with this passage and the passage's location.

    If several passages have the text, the earliest is returned. Texts in no corpus are left out.

    Args:
        texts: the texts to look up, without instructions.
        corpora: corpora by name; those with more than :data:`MOST_PASSAGES` are not searched.
    """
    wanted = set(texts) - {""}
    found: dict[str, tuple[Corpus, int]] = {}
    for corpus in corpora.values():
        if len(corpus.kept) > MOST_PASSAGES:
            continue
        for start in range(0, len(corpus.kept), _PASSAGES_AT_ONCE):
            if not wanted:
                break
            rows = np.asarray(corpus.kept[start : start + _PASSAGES_AT_ONCE])
            for row, text in zip(rows.tolist(), corpus.texts(rows), strict=True):
                if text in wanted:
                    wanted.discard(text)
                    found[text] = corpus, row
    return {text: (corpus.name, located(corpus, [row])[0]) for text, (corpus, row) in found.items()}
