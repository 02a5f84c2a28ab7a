"""Texts whose token ids are known, so that the texts are neither read nor tokenized again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray


class EncodedTexts(ABC):
    """N texts by number. The ids of all texts lie in one array, each distinct text once.

    A collator takes them wherever it takes a list of strings.
    """

    __slots__ = ()

    @property
    @abstractmethod
    def numbers(self) -> NDArray[np.int64]:
        """``[N]`` int64; equal numbers are equal texts."""

    @property
    @abstractmethod
    def ids(self) -> NDArray[Any]:
        """``[T]`` token ids of all numbered texts end to end, without special tokens."""

    @property
    @abstractmethod
    def bounds(self) -> NDArray[np.int64]:
        """``[n + 1]`` int64: text i has the ids from ``bounds[i]`` to ``bounds[i + 1]``."""

    @property
    @abstractmethod
    def prefix(self) -> str:
        """The part of the instruction, if any, that each text was tokenized behind."""

    @abstractmethod
    def with_numbers(self, numbers: NDArray[np.int64]) -> Self:
        """Return other texts of the same array."""

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: slice | NDArray[np.int64]) -> Self:
        """Return some of the texts, in any order."""
        return self.with_numbers(self.numbers[index])

    def repeated(self, times: int) -> Self:
        """Return each text ``times`` times in a row."""
        return self.with_numbers(np.repeat(self.numbers, times))

    def joined(self, others: Sequence[Self]) -> Self:
        """Return these texts and then those of ``others``, which are of the same array."""
        return self.with_numbers(np.concatenate([self.numbers, *(some.numbers for some in others)]))
