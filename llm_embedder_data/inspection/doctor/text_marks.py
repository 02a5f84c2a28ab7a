"""Which texts are short, and which begin with an instruction already."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from llm_embedder_data.inspection.doctor.flat_texts import FlatTexts
from llm_embedder_data.rows.instructed_texts import PROMPT_LETTERS, begins_instructed

_SHORT = 2  # characters
_LONGEST_WORD = 24  # characters of a text that may be one token
_MOST_BYTES = 4  # of a character


class ShortTexts:
    """Finds texts of one or two characters, or of one token.

    Args:
        tokenizer: says which texts are one token.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._is_token: dict[str, bool] = {}

    def __call__(self, texts: FlatTexts) -> NDArray[np.bool_]:
        """Return whether each text is short, ``[n]`` bool."""
        found = np.zeros(len(texts), bool)
        likely = np.flatnonzero(texts.lengths <= _LONGEST_WORD * _MOST_BYTES)
        of_place = {at: texts[at] for at in likely.tolist()}
        words = [one for one in of_place.values() if len(one) <= _LONGEST_WORD]
        self._learn({one for one in words if " " not in one.strip()})
        for at, text in of_place.items():
            found[at] = len(text) <= _LONGEST_WORD and (
                len(text.strip()) <= _SHORT or self._is_token.get(text, False)
            )
        return found

    def _learn(self, words: set[str]) -> None:
        new = [word for word in words if word not in self._is_token]
        if new:
            ids = self._tokenizer(new, add_special_tokens=False)["input_ids"]
            self._is_token |= {word: len(own) < 2 for word, own in zip(new, ids, strict=True)}


def begin_instructed(
    texts: FlatTexts, instructions: Sequence[str], row_of_text: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Which texts begin with their instruction, or with a published encoder's prompt: ``[n]`` bool.

    Args:
        texts: looked at.
        instructions: of each row.
        row_of_text: ``[n]`` int64, the row of each text.
    """
    first = texts.first_bytes()
    letters = FlatTexts.of(one.strip()[:1] for one in instructions).first_bytes()
    likely = (first == letters[row_of_text]) & (first > 0)
    for letter in PROMPT_LETTERS.encode():
        likely |= first == letter
    found = np.zeros(len(texts), bool)
    for at in np.flatnonzero(likely).tolist():
        found[at] = begins_instructed(texts[at], instructions[row_of_text[at]])
    return found
