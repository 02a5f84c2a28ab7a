"""Many texts as one array of bytes, so that checks go over bytes and not over strings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from numpy.typing import NDArray

_digest = xxhash.xxh3_64_intdigest


@dataclass(frozen=True, slots=True)
class FlatTexts:
    """Texts in UTF-8.

    Attributes:
        content: ``[b]`` uint8; bytes may lie between the texts, and texts in any order.
        starts: ``[n]`` int64, where each text begins in ``content``.
        ends: ``[n]`` int64, behind each text's last byte.
    """

    content: NDArray[np.uint8]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]

    @classmethod
    def of_column(cls, column: pa.ChunkedArray) -> FlatTexts:
        """The texts of a column of strings, none of them null."""
        return cls._of_chunks(column.chunks)

    @classmethod
    def of_lists(cls, column: pa.ChunkedArray) -> FlatTexts:
        """All texts of a column of lists of strings, end to end."""
        return cls._of_chunks([pc.list_flatten(chunk) for chunk in column.chunks])

    @classmethod
    def of(cls, texts: Iterable[str]) -> FlatTexts:
        """Some strings."""
        encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
        bounds = np.append(0, np.cumsum(list(map(len, encoded)), dtype=np.int64)).astype(np.int64)
        return cls(np.frombuffer(b"".join(encoded), np.uint8), bounds[:-1], bounds[1:])

    @classmethod
    def _of_chunks(cls, chunks: Sequence[pa.Array]) -> FlatTexts:
        array = pa.concat_arrays(chunks).cast(pa.large_string())
        _, offsets, content = array.buffers()
        bounds = np.frombuffer(offsets, np.int64, len(array) + 1, 8 * array.offset)
        # An array without a byte may have no buffer.
        flat = np.frombuffer(content or b"", np.uint8)
        return cls(flat, bounds[:-1], bounds[1:])

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, at: int) -> str:
        return self.bytes_at(at).decode("utf-8", "surrogatepass")

    @property
    def lengths(self) -> NDArray[np.int64]:
        """``[n]`` int64, bytes of each text."""
        return self.ends - self.starts

    def bytes_at(self, at: int) -> bytes:
        """A text in UTF-8."""
        return self.content[self.starts[at] : self.ends[at]].tobytes()

    def first_bytes(self) -> NDArray[np.uint8]:
        """``[n]`` uint8, each text's first byte; 0 where it is empty."""
        if not len(self.content):
            return np.zeros(len(self), np.uint8)
        first = self.content[np.minimum(self.starts, len(self.content) - 1)]
        return np.where(self.ends > self.starts, first, np.uint8(0))

    def chosen(self, of: NDArray[np.bool_]) -> FlatTexts:
        """Some of the texts; the bytes are shared.

        Args:
            of: ``[n]`` bool.
        """
        return FlatTexts(self.content, self.starts[of], self.ends[of])

    def packed(self) -> FlatTexts:
        """The same texts one behind the other, without bytes between them."""
        bounds = np.append(0, np.cumsum(self.lengths))
        content = np.frombuffer(b"".join(self._pieces()), np.uint8)
        return FlatTexts(content, bounds[:-1], bounds[1:])

    def window(self, of: slice) -> FlatTexts:
        """Some texts that lie one behind the other, with their own bytes alone."""
        base = self.starts[of.start]
        content = self.content[base : self.ends[of.stop - 1]]
        return FlatTexts(content, self.starts[of] - base, self.ends[of] - base)

    def windows(self, n_bytes: int) -> Iterator[slice]:
        """Runs of texts, of some bytes together or one text long.

        Args:
            n_bytes: of a run, at most. The texts lie in their order.
        """
        first = 0
        while first < len(self):
            limit = self.starts[first] + n_bytes
            end = max(first + 1, int(np.searchsorted(self.ends, limit, "right")))
            yield slice(first, end)
            first = end

    def fingerprints(self) -> NDArray[np.uint64]:
        """``[n]`` uint64, XXH3 of each text."""
        return np.fromiter(map(_digest, self._pieces()), np.uint64, len(self))

    def _pieces(self) -> Iterator[memoryview]:
        slices = map(slice, self.starts.tolist(), self.ends.tolist())
        return map(self.content.data.__getitem__, slices)
