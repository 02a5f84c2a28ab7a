"""Encoded texts whose token ids are in a token table."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.batches.token_cache.token_table import TokenTable
from llm_embedder_data.batches.tokens.encoded_texts import EncodedTexts


class CachedTexts(EncodedTexts):
    """Texts of one column of a token table, given by their numbers in the table.

    A pickle is small: it holds the numbers and the file name of the table, and no tokens.

    Args:
        table: the table that has the tokens.
        column: name of the column, which determines the prefix of the texts.
        numbers: ``[N]`` int64, numbers of the texts.
    """

    __slots__ = ("column", "numbers", "table")
    numbers: NDArray[np.int64]  # not a property, for speed: each step reads it ten times

    def __init__(self, table: TokenTable, column: str, numbers: NDArray[np.int64]) -> None:
        self.table, self.column, self.numbers = table, column, numbers

    @property
    def ids(self) -> NDArray[Any]:
        return self.table.ids

    @property
    def bounds(self) -> NDArray[np.int64]:
        return self.table.bounds

    @property
    def prefix(self) -> str:
        return self.table.prefixes[self.column]

    def with_numbers(self, numbers: NDArray[np.int64]) -> CachedTexts:
        return CachedTexts(self.table, self.column, numbers)
