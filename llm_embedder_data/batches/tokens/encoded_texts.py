"""Texts whose token ids are known already, so that no text has to be read or tokenized."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray


class EncodedTexts(ABC):
    """N texts, given by their numbers. One array holds the ids of each distinct text, once.

    A collator accepts encoded texts in place of a list of strings.
    """

    __slots__ = ()

    @property
    @abstractmethod
    def numbers(self) -> NDArray[np.int64]:
        """``[N]`` int64, the number of each text; equal numbers mean equal texts."""

    @property
    @abstractmethod
    def ids(self) -> NDArray[Any]:
        """``[T]`` token ids of all distinct texts, one after another, without special tokens."""

    @property
    @abstractmethod
    def bounds(self) -> NDArray[np.int64]:
        """``[n + 1]`` int64: text i has the ids from ``bounds[i]`` to ``bounds[i + 1]``."""

    @property
    @abstractmethod
    def prefix(self) -> str:
        """The string put before each text when it was tokenized.

        It is empty or the end of the instruction: see :meth:`InstructionTokens.text_prefix`.
        """

    @abstractmethod
    def with_numbers(self, numbers: NDArray[np.int64]) -> Self:
        """Return the texts with these numbers, from the same array."""

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: slice | NDArray[np.int64]) -> Self:
        """Return some of the texts, in any order."""
        return self.with_numbers(self.numbers[index])

    def repeated(self, times: int) -> Self:
        """Return each text ``times`` times in a row."""
        return self.with_numbers(np.repeat(self.numbers, times))

    def joined(self, others: Sequence[Self]) -> Self:
        """Return these texts followed by those of ``others``, which must be from the same array."""
        return self.with_numbers(np.concatenate([self.numbers, *(some.numbers for some in others)]))
