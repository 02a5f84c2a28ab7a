"""Keys of rows that name passages, while texts from elsewhere are put beside them.

A key stays the number of its passage. A text that is no passage of the rows' corpora gets a number
behind theirs, and is written into a file of passages of its own: nothing else is copied.
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
    """The text of a passage, which knows the passage's number."""

    __slots__ = ("number",)
    number: int


class PassagesAndTexts(Passages):
    """Passages of corpora, and behind them texts that none of them has.

    The texts from elsewhere are in memory until they are written.
    """

    def __init__(self, passages: Passages) -> None:
        super().__init__(passages.corpora)
        self._n_passages = len(passages)
        self._beside: dict[str, int] = {}
        self._text_ids = array("q")

    def numbered(self, numbers: Sequence[int]) -> list[NumberedText]:
        """Return the texts of passages, each with its number."""
        found = []
        for number, text in zip(numbers, self.texts(np.array(numbers, np.int64)), strict=True):
            found.append(NumberedText(text))
            found[-1].number = number
        return found

    def find(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the number of the passage that has each id, ``[m]`` int64; -1 for none."""
        found = np.full(len(ids), -1, np.int64)
        start = 0
        for corpus in self.corpora:
            missing = np.flatnonzero(found < 0)
            own = corpus.find([ids[place] for place in missing.tolist()])
            found[missing] = np.where(own < 0, -1, start + own)
            start += corpus.n_passages
        return found

    def number_of(self, text: str) -> int:
        """Return a text's number: its passage's, or one behind them all."""
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
        """Return the passages with those that the texts have become.

        Args:
            folder: of all caches.
            name: what the texts are found by.

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
