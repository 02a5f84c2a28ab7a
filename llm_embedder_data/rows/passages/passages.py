"""Passages of one or several corpora, which rows refer to by number."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from llm_embedder_data.rows.passages.passage_files import PassageFile


class Passages:
    """The passages of corpora, numbered in the order in which the corpora were added.

    Args:
        corpora: the corpora to begin with.
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
        """The names of ``files`` in the cache folder."""
        return [corpus.path.name for corpus in self.corpora]

    def texts(self, numbers: NDArray[np.int64]) -> list[str]:
        """Return the texts of the passages with these numbers, ``[m]`` int64."""
        if len(self.corpora) == 1:
            return self.corpora[0].texts(numbers)
        texts = np.empty(len(numbers), object)
        for corpus, at, in_corpus in self._by_corpus(numbers):
            texts[at] = corpus.texts(in_corpus)
        found: list[str] = texts.tolist()
        return found

    def ids(self, numbers: NDArray[np.int64]) -> list[str]:
        """Return the ids of the passages with these numbers, ``[m]`` int64, in their corpora."""
        ids = np.empty(len(numbers), object)
        for corpus, at, in_corpus in self._by_corpus(numbers):
            ids[at] = [corpus.id_of(number) for number in in_corpus.tolist()]
        found: list[str] = ids.tolist()
        return found

    def text_ids(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the hash of each text, which is ``key_id`` in batches, ``[m]`` int64."""
        return self._numbers(numbers, lambda corpus, in_corpus: corpus.text_ids[in_corpus])

    def n_bytes(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the length of each text in bytes, ``[m]`` int64."""
        return self._numbers(numbers, PassageFile.n_bytes)

    def first_same(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return numbers that are equal exactly for equal texts, ``[m]`` int64.

        With one corpus, they are the numbers of the first passages with the same texts. Several
        corpora may share texts, so the numbers are hashes of the texts.
        """
        if len(self.corpora) == 1:
            return self.corpora[0].first_same[numbers]
        return self.text_ids(numbers)

    def lists(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        """Return a column of lists of passage numbers as lists of texts, in one chunk."""
        lists = column.combine_chunks()
        if isinstance(lists, pa.ChunkedArray):  # the column has no chunk
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
        """Yield each corpus that has some of the numbers.

        Also yields the indices of its numbers, and the numbers of these passages in the corpus.
        """
        corpus_of = np.searchsorted(self._ends, numbers, "right")
        for at, corpus in enumerate(self.corpora):
            indices = np.flatnonzero(corpus_of == at)
            if len(indices):
                yield corpus, indices, numbers[indices] - self._start(at)

    def _numbers(
        self,
        numbers: NDArray[np.int64],
        of: Callable[[PassageFile, NDArray[np.int64]], NDArray[Any]],
    ) -> NDArray[np.int64]:
        if len(self.corpora) == 1:
            return of(self.corpora[0], numbers)
        found = np.empty(len(numbers), np.int64)
        for corpus, at, in_corpus in self._by_corpus(numbers):
            found[at] = of(corpus, in_corpus)
        return found


def opened_passages(folder: Path, names: Iterable[str] | None) -> Passages | None:
    """Return the passages in files of a cache folder; None if ``names`` is None.

    Args:
        folder: the cache folder.
        names: the names of the files, from :attr:`Passages.names`.

    Raises:
        FileNotFoundError: a file does not exist or is damaged.
        OSError: a file cannot be mapped.
    """
    return None if names is None else Passages(PassageFile(folder / name) for name in names)


def flat_numbers(lists: pa.ListArray) -> NDArray[np.int64]:
    """Return the numbers of all lists, concatenated, ``[m]`` int64."""
    numbers: NDArray[np.int64] = lists.flatten().to_numpy(zero_copy_only=False).astype(np.int64)
    return numbers
