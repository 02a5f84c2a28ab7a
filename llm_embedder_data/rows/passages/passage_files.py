"""The passages of a corpus by id, in a memory-mapped file that is opened without copying."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from llm_embedder_data.core.array_files import mapped_arrays
from llm_embedder_data.core.sealed_files import is_whole

# Part of every file's name. Raise it when what is written changes, or when the reader of a format
# returns other passages.
PASSAGES_VERSION = 4

# The number of ids that are read at a time when iterating over all of them.
_IDS_AT_ONCE = 8192


class PassageFile(Mapping[str, str]):
    """The n passages of a corpus: a mapping from ids to texts, and arrays by number.

    A passage's number is its position in the corpus, from 0. Ids are looked up in a sorted array of
    their hashes, and compared with the found id itself. A pickle of this object only holds the path
    of the file.

    Args:
        path: a file that ``passage_building.passages_in`` wrote.

    Attributes:
        text_ids: ``[n]`` int64, the hash of each text, which is ``key_id`` in batches.
        first_same: ``[n]`` int64, the number of the first passage with the same text.
        header: the other values that were written: ``files``, ``counts``, ``digested``, ``found``
            and ``rejected``.

    Raises:
        FileNotFoundError: the file does not exist or is damaged.
        OSError: it cannot be mapped.
    """

    def __init__(self, path: Path) -> None:
        if not is_whole(path):
            raise FileNotFoundError(f"{path}: the passages are missing or damaged")
        self.path = path
        arrays, self.header = mapped_arrays(path)
        self._texts, self._text_bounds = memoryview(arrays["texts"].data), arrays["text_bounds"]
        self._ids, self._id_bounds = memoryview(arrays["ids"].data), arrays["id_bounds"]
        self._hashes, self._numbers = arrays["id_hashes"], arrays["id_numbers"]
        self.text_ids: NDArray[np.int64] = arrays["text_ids"]
        self.first_same: NDArray[np.int64] = arrays["first_same"]

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path,)

    @property
    def n_passages(self) -> int:
        """The number of passages, including passages that repeat the id of an earlier passage."""
        return len(self.text_ids)

    def find(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the number of each id's passage, ``[m]`` int64; -1 for an unknown id."""
        if not len(self):
            return np.full(len(ids), -1, np.int64)
        names = [id.encode("utf-8", "surrogatepass") for id in ids]
        hashes = np.fromiter(map(xxhash.xxh3_64_intdigest, names), np.uint64, len(names))
        positions = self._hashes.searchsorted(hashes)
        is_known = self._hashes.take(positions, mode="clip") == hashes
        found = np.where(is_known, self._numbers.take(positions, mode="clip"), -1)
        starts, ends = self._id_bounds[found].tolist(), self._id_bounds[found + 1].tolist()
        known = self._ids
        for i, (number, name) in enumerate(zip(found.tolist(), names, strict=True)):
            if number >= 0 and known[starts[i] : ends[i]] != name:
                found[i] = self._next_with_hash(int(positions[i]) + 1, int(hashes[i]), name)
        return found

    def texts(self, numbers: NDArray[np.int64]) -> list[str]:
        """Return the texts of the passages with these numbers, ``[m]`` int64."""
        texts = self._texts
        starts, ends = self._text_bounds[numbers].tolist(), self._text_bounds[numbers + 1].tolist()
        return [str(texts[start:end], "utf-8") for start, end in zip(starts, ends, strict=True)]

    def n_bytes(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the length of each text in bytes, ``[m]`` int64."""
        n_bytes: NDArray[np.int64] = self._text_bounds[numbers + 1] - self._text_bounds[numbers]
        return n_bytes

    # -- the mapping -------------------------------------------------------------------------------

    def __getitem__(self, id: str) -> str:
        number = self.find([id])
        if number[0] < 0:
            raise KeyError(id)
        return self.texts(number)[0]

    def __contains__(self, id: object) -> bool:
        return isinstance(id, str) and bool(self.find([id])[0] >= 0)

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _IDS_AT_ONCE):
            lines = np.arange(start, min(start + _IDS_AT_ONCE, len(self)))
            yield from map(self.id_of, self.of_lines(lines).tolist())

    # -- lines -------------------------------------------------------------------------------------

    def of_lines(self, lines: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the numbers of the passages on some lines, ``[m]`` int64.

        Lines are counted from 0. They do not count passages that repeat the id of an earlier
        passage.
        """
        return lines if len(self) == self.n_passages else self._numbers_in_order[lines]

    def id_of(self, number: int) -> str:
        """Return the id of a passage."""
        start, end = self._id_bounds[number : number + 2].tolist()
        return str(self._ids[start:end], "utf-8", "surrogatepass")

    # ----------------------------------------------------------------------------------------------

    @cached_property
    def _numbers_in_order(self) -> NDArray[np.int64]:
        return np.sort(self._numbers)

    def _next_with_hash(self, position: int, hash_: int, name: bytes) -> int:
        """Return the number of an id, from a position after another id with the same hash.

        -1 for an unknown id.
        """
        while position < len(self._hashes) and int(self._hashes[position]) == hash_:
            number = int(self._numbers[position])
            if self._ids[int(self._id_bounds[number]) : int(self._id_bounds[number + 1])] == name:
                return number
            position += 1
        return -1


class PassagesByLine(PassageFile):
    """The passages of a corpus, whose ids are their lines, counted from 0, as text."""

    def find(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the number of the passage on each line, ``[m]`` int64; -1 for no such line."""
        lines = np.array([self._line(id) for id in ids], np.int64)
        return np.where(lines < 0, -1, self.of_lines(np.maximum(lines, 0)))

    def __iter__(self) -> Iterator[str]:
        return map(str, range(len(self)))

    def _line(self, id: str) -> int:
        is_line = id.isascii() and id.isdigit() and len(id) < 19 and str(int(id)) == id
        return int(id) if is_line and int(id) < len(self) else -1


class IdsOfLines(Sequence[str]):
    """The ids of a corpus's passages by line, read on access."""

    def __init__(self, passages: PassageFile) -> None:
        self._passages = passages

    def __len__(self) -> int:
        return len(self._passages)

    def __getitem__(self, line: Any) -> Any:
        if not 0 <= line < len(self):
            raise IndexError(line)
        return self._passages.id_of(int(self._passages.of_lines(np.array([line]))[0]))
