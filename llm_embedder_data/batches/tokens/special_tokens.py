"""The special tokens that a tokenizer puts around a text or a pair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.batches.tokens.token_slices import Tokens, TokenSlices


@dataclass(frozen=True, slots=True)
class SpecialTokenTemplate:
    """The special tokens before, between and after the texts of a row.

    Attributes:
        special: (ids, token types) of the special tokens before the first text, after it, and (for
            pairs) after the second text.
        types: the token type of each text.
    """

    special: list[tuple[list[int], NDArray[np.int64]]]
    types: list[int]

    @property
    def n_special(self) -> int:
        """Number of special tokens."""
        return sum(len(ids) for ids, _ in self.special)

    def room(self, max_length: int) -> int:
        """Return the number of tokens that ``max_length`` leaves for the texts."""
        return max(max_length - self.n_special, 0)

    def around(self, n_rows: int, dtype: np.dtype[Any], *texts: tuple[TokenSlices, ...]) -> Tokens:
        """Return rows of texts with the special tokens around them.

        Args:
            n_rows: number of rows.
            dtype: dtype of all ids.
            texts: the slices that make up the first text of each row and, for pairs, the second.
        """
        parts = [
            TokenSlices.constant(np.array(ids, dtype), n_rows, types.astype(dtype))
            for ids, types in self.special
        ]
        for index, text in reversed(list(enumerate(texts, start=1))):
            parts[index:index] = text
        return Tokens(tuple(parts))
