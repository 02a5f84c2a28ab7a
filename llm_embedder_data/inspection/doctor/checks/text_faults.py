"""Faults of single texts: hardly any text, or an instruction at the beginning of the text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from llm_embedder_data.inspection.doctor.texts.flat_texts import FlatTexts
from llm_embedder_data.rows.source_rows.instructed_texts import PROMPT_LETTERS, begins_instructed

_SHORT = 2  # characters
_LONGEST_TOKEN = 24  # characters; a longer text is taken to be more than one token
_MOST_BYTES = 4  # of a character in UTF-8


class ShortTexts:
    """Finds texts of at most two characters, or of a single token.

    Args:
        tokenizer: tells which texts are a single token.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._is_token: dict[str, bool] = {}

    def __call__(self, texts: FlatTexts) -> NDArray[np.bool_]:
        """Return whether each text is short, ``[n]`` bool."""
        found = np.zeros(len(texts), bool)
        likely = np.flatnonzero(texts.lengths <= _LONGEST_TOKEN * _MOST_BYTES)
        candidates = {number: texts[number] for number in likely.tolist()}
        self._tokenize(
            {
                text
                for text in candidates.values()
                if len(text) <= _LONGEST_TOKEN and " " not in text.strip()
            }
        )
        for number, text in candidates.items():
            found[number] = len(text) <= _LONGEST_TOKEN and (
                len(text.strip()) <= _SHORT or self._is_token.get(text, False)
            )
        return found

    def _tokenize(self, words: set[str]) -> None:
        """Remember which words are one token; data repeats words, so each is tokenized once."""
        new = [word for word in words if word not in self._is_token]
        if new:
            ids = self._tokenizer(new, add_special_tokens=False)["input_ids"]
            self._is_token |= {word: len(tokens) < 2 for word, tokens in zip(new, ids, strict=True)}


def begin_with_instruction(
    texts: FlatTexts, instructions: Sequence[str], row_of_text: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Return whether each text begins with an instruction, ``[n]`` bool.

    Instructions are that of the text's row, and the prompts of published encoders.

    Args:
        texts: the texts to look at.
        instructions: the instruction of each row.
        row_of_text: ``[n]`` int64, the number of each text's row in ``instructions``.
    """
    first = texts.first_bytes()
    # Only texts with the first letter of an instruction, which are few, are compared as strings.
    letters = FlatTexts.of(text.strip()[:1] for text in instructions).first_bytes()
    likely = (first == letters[row_of_text]) & (first > 0)
    for letter in PROMPT_LETTERS.encode():
        likely |= first == letter
    found = np.zeros(len(texts), bool)
    for number in np.flatnonzero(likely).tolist():
        found[number] = begins_instructed(texts[number], instructions[row_of_text[number]])
    return found
