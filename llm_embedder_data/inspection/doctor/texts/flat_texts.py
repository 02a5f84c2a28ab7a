"""Many texts as one array of bytes, so that a check is a few NumPy calls, not a loop over texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from numpy.typing import NDArray

_xxh3 = xxhash.xxh3_64_intdigest


@dataclass(frozen=True, slots=True)
class FlatTexts:
    """Texts in UTF-8: text i is ``content[starts[i] : ends[i]]``.

    Attributes:
        content: ``[b]`` uint8, the bytes of all texts. It may hold other bytes between them, and
            the texts may lie in any order.
        starts: ``[n]`` int64, where each text begins in ``content``.
        ends: ``[n]`` int64, where each text ends (the position after its last byte).
    """

    content: NDArray[np.uint8]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]

    @classmethod
    def of_column(cls, column: pa.ChunkedArray) -> FlatTexts:
        """Return the texts of a column of strings without nulls."""
        return cls._of_chunks(column.chunks)

    @classmethod
    def of_lists(cls, column: pa.ChunkedArray) -> FlatTexts:
        """Return the texts in all lists of a column of lists of strings, list after list."""
        return cls._of_chunks([pc.list_flatten(chunk) for chunk in column.chunks])

    @classmethod
    def of(cls, texts: Iterable[str]) -> FlatTexts:
        """Return flat texts of Python strings."""
        encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
        bounds = np.append(0, np.cumsum(list(map(len, encoded)), dtype=np.int64)).astype(np.int64)
        return cls(np.frombuffer(b"".join(encoded), np.uint8), bounds[:-1], bounds[1:])

    @classmethod
    def _of_chunks(cls, chunks: Sequence[pa.Array]) -> FlatTexts:
        # A single chunk is not copied. If it is a slice of an array, it shares the array's buffers
        # and its offset says where in them it begins.
        array = chunks[0] if len(chunks) == 1 else pa.concat_arrays(chunks)
        array = array.cast(pa.large_string())
        _, offsets, content = array.buffers()
        bounds = np.frombuffer(offsets, np.int64, len(array) + 1, 8 * array.offset)
        # An array without a byte may have no buffer.
        flat = np.frombuffer(content or b"", np.uint8)
        return cls(flat, bounds[:-1], bounds[1:])

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, number: int) -> str:
        return self.bytes_of(number).decode("utf-8", "surrogatepass")

    @property
    def lengths(self) -> NDArray[np.int64]:
        """``[n]`` int64, the length of each text in bytes."""
        return self.ends - self.starts

    def bytes_of(self, number: int) -> bytes:
        """Return a text in UTF-8."""
        return self.content[self.starts[number] : self.ends[number]].tobytes()

    def first_bytes(self) -> NDArray[np.uint8]:
        """Return the first byte of each text, 0 for an empty text, ``[n]`` uint8."""
        if not len(self.content):
            return np.zeros(len(self), np.uint8)
        first = self.content[np.minimum(self.starts, len(self.content) - 1)]
        return np.where(self.ends > self.starts, first, np.uint8(0))

    def chosen(self, is_chosen: NDArray[np.bool_]) -> FlatTexts:
        """Return some of the texts, without copying ``content``.

        Args:
            is_chosen: ``[n]`` bool.
        """
        return FlatTexts(self.content, self.starts[is_chosen], self.ends[is_chosen])

    def packed(self) -> FlatTexts:
        """Return the same texts in order, in a new ``content`` without other bytes between them."""
        bounds = np.append(0, np.cumsum(self.lengths))
        content = np.frombuffer(b"".join(self._pieces()), np.uint8)
        return FlatTexts(content, bounds[:-1], bounds[1:])

    def window(self, numbers: slice) -> FlatTexts:
        """Return consecutive texts with only the part of ``content`` that holds them.

        Args:
            numbers: the numbers of the texts, at least one; they lie in order in ``content``.
        """
        base = self.starts[numbers.start]
        content = self.content[base : self.ends[numbers.stop - 1]]
        return FlatTexts(content, self.starts[numbers] - base, self.ends[numbers] - base)

    def windows(self, n_bytes: int) -> Iterator[slice]:
        """Divide the texts, which lie in order in ``content``, into windows of limited size.

        Args:
            n_bytes: the most bytes of a window. A longer text is a window by itself.

        Yields:
            The numbers of the consecutive texts of each window.
        """
        first = 0
        while first < len(self):
            limit = self.starts[first] + n_bytes
            end = max(first + 1, int(np.searchsorted(self.ends, limit, "right")))
            yield slice(first, end)
            first = end

    def fingerprints(self) -> NDArray[np.uint64]:
        """Return the XXH3 hash of each text, ``[n]`` uint64."""
        return np.fromiter(map(_xxh3, self._pieces()), np.uint64, len(self))

    def _pieces(self) -> Iterator[memoryview]:
        slices = map(slice, self.starts.tolist(), self.ends.tolist())
        return map(self.content.data.__getitem__, slices)
