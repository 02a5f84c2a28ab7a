"""Passages that rows name by number, of one corpus or of several, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from llm_embedder_data.rows.passages.passage_files import PassageFile


class Passages:
    """The passages of corpora, numbered in the order in which the corpora were added.

    Args:
        corpora: the first ones.
    """

    def __init__(self, corpora: Iterable[PassageFile] = ()) -> None:
        self.corpora: list[PassageFile] = []
        self._ends = np.zeros(0, np.int64)
        for corpus in corpora:
            self.add(corpus)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def add(self, corpus: PassageFile) -> int:
        """Return the number of a corpus's first passage; the corpus is added if it is new."""
        for at, known in enumerate(self.corpora):
            if known is corpus or known.path == corpus.path:
                return self._start(at)
        start = len(self)
        self.corpora.append(corpus)
        self._ends = np.append(self._ends, start + corpus.n_passages)
        return start

    @property
    def files(self) -> list[str]:
        """The files that passages are read from."""
        return [str(corpus.path) for corpus in self.corpora]

    @property
    def names(self) -> list[str]:
        """The names of these files in the cache folder."""
        return [corpus.path.name for corpus in self.corpora]

    def texts(self, numbers: NDArray[np.int64]) -> list[str]:
        """Return the texts of some passages, ``[m]`` int64."""
        if len(self.corpora) == 1:
            return self.corpora[0].texts(numbers)
        texts = np.empty(len(numbers), object)
        for corpus, at, own in self._by_corpus(numbers):
            texts[at] = corpus.texts(own)
        found: list[str] = texts.tolist()
        return found

    def ids(self, numbers: NDArray[np.int64]) -> list[str]:
        """Return the ids that some passages have in their corpora, ``[m]`` int64."""
        ids = np.empty(len(numbers), object)
        for corpus, at, own in self._by_corpus(numbers):
            ids[at] = [corpus.id_of(number) for number in own.tolist()]
        found: list[str] = ids.tolist()
        return found

    def text_ids(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the hash of each text, as batches have it, ``[m]`` int64."""
        return self._numbers(numbers, lambda corpus, own: corpus.text_ids[own])

    def n_bytes(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the bytes of each text, ``[m]`` int64."""
        return self._numbers(numbers, PassageFile.n_bytes)

    def first_same(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return numbers that are equal for equal texts and for no others, ``[m]`` int64.

        Of one corpus, they are those of the first passages with the texts; of several, which may
        have a text in common, the texts' hashes.
        """
        if len(self.corpora) == 1:
            return self.corpora[0].first_same[numbers]
        return self.text_ids(numbers)

    def lists(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        """Return a column of lists of numbers as lists of texts, in one chunk."""
        lists = column.combine_chunks()
        if isinstance(lists, pa.ChunkedArray):  # of no chunk
            lists = pa.array([], column.type)
        texts = pa.array(self.texts(flat_numbers(lists)), pa.string())
        offsets = lists.offsets.to_numpy()
        return pa.chunked_array(
            [pa.ListArray.from_arrays(pa.array(offsets - offsets[0], pa.int32()), texts)]
        )

    # ----------------------------------------------------------------------------------------------

    def _start(self, at: int) -> int:
        return int(self._ends[at - 1]) if at else 0

    def _by_corpus(
        self, numbers: NDArray[np.int64]
    ) -> Iterable[tuple[PassageFile, NDArray[np.int64], NDArray[np.int64]]]:
        """Yield each corpus, the places of its numbers, and these as the corpus counts them."""
        corpus_of = np.searchsorted(self._ends, numbers, "right")
        for at, corpus in enumerate(self.corpora):
            places = np.flatnonzero(corpus_of == at)
            if len(places):
                yield corpus, places, numbers[places] - self._start(at)

    def _numbers(
        self,
        numbers: NDArray[np.int64],
        of: Callable[[PassageFile, NDArray[np.int64]], NDArray[Any]],
    ) -> NDArray[np.int64]:
        if len(self.corpora) == 1:
            return of(self.corpora[0], numbers)
        found = np.empty(len(numbers), np.int64)
        for corpus, at, own in self._by_corpus(numbers):
            found[at] = of(corpus, own)
        return found


def flat_numbers(lists: pa.ListArray) -> NDArray[np.int64]:
    """Return the numbers of all lists, end to end, ``[m]`` int64."""
    numbers: NDArray[np.int64] = lists.flatten().to_numpy(zero_copy_only=False).astype(np.int64)
    return numbers
