"""Passages of the rows' corpora, and texts from other files that are joined as keys.

A key that is a passage stays the passage's number. A text that is not among the passages gets a
number after theirs, and is written to a separate file of passages. No passage is copied.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.core.hashing import text_ids
from llm_embedder_data.rows.passages.passage_building import Passage, passages_in
from llm_embedder_data.rows.passages.passages import Passages


class NumberedText(str):
    """The text of a passage as a string that carries the passage's number.

    Attributes:
        number: the number of the passage.
    """

    __slots__ = ("number",)
    number: int


class PassagesAndTexts(Passages):
    """Passages of corpora, followed by texts from other files.

    The texts from other files are in memory until :meth:`written` writes them.

    Args:
        passages: the passages of the corpora.
    """

    def __init__(self, passages: Passages) -> None:
        super().__init__(passages.corpora)
        self._n_passages = len(passages)
        self._beside: dict[str, int] = {}
        self._text_ids = array("q")

    def numbered(self, numbers: Sequence[int]) -> list[NumberedText]:
        """Return the texts of passages; each text carries its number."""
        found = []
        for number, text in zip(numbers, self.texts(np.array(numbers, np.int64)), strict=True):
            found.append(NumberedText(text))
            found[-1].number = number
        return found

    def find(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the number of the passage with each id, ``[m]`` int64; -1 for an unknown id.

        If several corpora have an id, the first corpus counts.
        """
        found = np.full(len(ids), -1, np.int64)
        start = 0
        for corpus in self.corpora:
            missing = np.flatnonzero(found < 0)
            in_corpus = corpus.find([ids[index] for index in missing.tolist()])
            found[missing] = np.where(in_corpus < 0, -1, start + in_corpus)
            start += corpus.n_passages
        return found

    def number_of(self, text: str) -> int:
        """Return a text's number: that of its passage, or a number after those of all passages."""
        if isinstance(text, NumberedText):
            return text.number
        if text not in self._beside:
            self._beside[text] = self._n_passages + len(self._beside)
            self._text_ids.append(int(text_ids([text])[0]))
        return self._beside[text]

    def first_same(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        if not self._beside:
            return super().first_same(numbers)
        is_beside = numbers >= self._n_passages
        ids = np.empty(len(numbers), np.int64)
        ids[~is_beside] = self.text_ids(numbers[~is_beside])
        ids[is_beside] = np.array(self._text_ids, np.int64)[numbers[is_beside] - self._n_passages]
        return ids

    def written(self, folder: Path, name: Any) -> Passages:
        """Write the texts from other files as passages; return all passages.

        Args:
            folder: the folder of all caches.
            name: identifies the texts in the cache.

        Raises:
            DataError: the cache cannot be written.
        """
        passages = Passages(self.corpora)
        if self._beside:
            settings = ("texts beside passages", name)
            passages.add(
                passages_in(folder, {}, settings, self._read, name="texts", skips_bad_rows=False)
            )
        return passages

    def _read(self) -> Iterator[Passage]:
        for number, text in enumerate(self._beside):
            yield Passage(str(number), text, None)
