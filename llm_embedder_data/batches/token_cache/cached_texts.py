"""Texts whose ids are in a token table."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.batches.token_cache.token_table import TokenTable
from llm_embedder_data.batches.tokens.encoded_texts import EncodedTexts


class CachedTexts(EncodedTexts):
    """Texts of a table's column by number. A pickle holds the numbers and the table's file name.

    Args:
        table: that has their tokens.
        column: of the table.
        numbers: ``[N]`` int64.
    """

    __slots__ = ("column", "numbers", "table")
    numbers: NDArray[np.int64]  # no property, because a step reads it ten times

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
