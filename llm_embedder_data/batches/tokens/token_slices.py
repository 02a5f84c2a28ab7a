"""Token ids of many texts without padding, as slices of long arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, takewhile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.core.slices import slices_at


@dataclass(frozen=True, slots=True)
class TokenSlices:
    """Some tokens of each of N texts, as one slice per text of a long array.

    Attributes:
        source: ``[T]`` token ids of any integer dtype, contiguous.
        starts: ``[N]`` int64, where each slice begins.
        lengths: ``[N]`` int64, number of tokens in each slice.
        types: ``[T]`` token types, with the dtype of ``source``, or one type for all tokens.
        is_constant: whether every slice is the whole of ``source``.
    """

    source: NDArray[Any]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    types: NDArray[Any] | int = 0
    is_constant: bool = False

    @classmethod
    def of_lists(
        cls, lists: Sequence[Sequence[int]], types: Sequence[Sequence[int]] | None = None
    ) -> TokenSlices:
        """Make slices from one list of ids, and one list of types, per text."""
        lengths = np.fromiter(map(len, lists), np.int64, len(lists))
        return cls(
            _joined(lists, lengths),
            np.cumsum(lengths) - lengths,
            lengths,
            0 if types is None else _joined(types, lengths),
        )

    @classmethod
    def constant(
        cls, source: NDArray[Any], n_texts: int, types: NDArray[Any] | int = 0
    ) -> TokenSlices:
        """Make slices that give each of N texts the same tokens: the whole of ``source``."""
        return cls(source, np.zeros(n_texts, np.int64), np.full(n_texts, len(source)), types, True)

    def take(self, texts: NDArray[np.int64]) -> TokenSlices:
        """Return some of the texts, in the order of ``texts``."""
        return replace(self, starts=self.starts[texts], lengths=self.lengths[texts])

    def mirrored(self) -> TokenSlices:
        """Return the slices with the order of all tokens reversed."""
        starts = len(self.source) - self.starts - self.lengths
        types = self.types if isinstance(self.types, int) else self.types[::-1]
        return replace(self, source=self.source[::-1], starts=starts, types=types)

    def rows(self, width: int, before: int = 0, of_types: bool = False) -> NDArray[Any]:
        """Return an array ``[N, width]`` with each slice starting at column ``before``.

        All other columns are undefined.
        """
        source = self.types if of_types else self.source
        if isinstance(source, int):
            return np.full((len(self.starts), width), source, self.source.dtype)
        return slices_at(source, self.starts - before, width)

    def as_bytes(self, of_types: bool = False) -> list[bytes]:
        """Return the ids, or the types, of each slice as bytes."""
        starts, lengths = self.starts, self.lengths
        array = self.types if of_types else self.source
        if isinstance(array, int):
            array = np.full(int(lengths.max(initial=0)), array, self.source.dtype)
            starts = np.zeros_like(starts)
        view = array.data.cast("B") if len(array) else memoryview(b"")
        first, last = starts * array.itemsize, (starts + lengths) * array.itemsize
        if len(first) and (first == first[0]).all() and (last == last[0]).all():
            return [view[first[0] : last[0]].tobytes()] * len(first)
        # Return bytes rather than memoryviews: the garbage collector tracks memoryviews, so a few
        # hundred of them would start a collection.
        return [view[a:b].tobytes() for a, b in zip(first.tolist(), last.tolist(), strict=True)]


@dataclass(frozen=True, slots=True)
class Tokens:
    """N texts as token ids without padding; each text is the concatenation of its parts.

    The arrays of all parts have the same dtype.
    """

    parts: tuple[TokenSlices, ...]

    def __len__(self) -> int:
        return len(self.parts[0].lengths)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number of tokens of each text, ``[N]`` int64."""
        total: NDArray[np.int64] = sum(part.lengths for part in self.parts)  # type: ignore[assignment]
        return total

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the ids."""
        return self.parts[0].source.dtype

    @property
    def typed(self) -> bool:
        """Whether any token has a type other than 0."""
        return any(
            part.types if isinstance(part.types, int) else part.types.any() for part in self.parts
        )

    def take(self, texts: NDArray[np.int64]) -> Tokens:
        """Return some of the texts, in the order of ``texts``."""
        return Tokens(tuple(part.take(texts) for part in self.parts))

    def padded(
        self, real: NDArray[Any], filling: int, right: bool, of_types: bool = False
    ) -> NDArray[Any]:
        """Return the ids, or the types, of all texts, padded at one end.

        Args:
            real: ``[N, L]`` with the dtype of the ids: 1 where a text has a token, otherwise 0.
            filling: the padding id, or the padding type.
            right: whether to pad at the right end.
            of_types: return the types.

        Returns:
            ``[N, L]`` with the dtype of the ids.
        """
        n_varying = sum(not part.is_constant for part in self.parts)
        if n_varying > 1:  # _side_by_side() can place only one part that varies from text to text
            laid = np.empty(real.shape, self.dtype)
            laid[real == 1] = self.flat(of_types)
        elif right:
            laid = _side_by_side(self.parts, real.shape[1], of_types)
        else:
            backwards = [part.mirrored() for part in reversed(self.parts)]
            laid = _side_by_side(backwards, real.shape[1], of_types)[:, ::-1]
        # Write ``filling`` where real is 0. Integer arithmetic wraps around, so this is exact; it
        # takes half as long as a boolean mask.
        if filling:
            laid -= laid.dtype.type(filling)
        laid *= real
        if filling:
            laid += laid.dtype.type(filling)
        return laid

    def flat(self, of_types: bool = False) -> NDArray[np.int64]:
        """Return the ids, or the types, of all texts, one after another, ``[T]`` int64."""
        # Joining bytes is twice as fast as gathering by index.
        slices = zip(*(part.as_bytes(of_types) for part in self.parts), strict=True)
        joined = b"".join(chain.from_iterable(slices))
        return np.frombuffer(joined, self.dtype).astype(np.int64)


def _side_by_side(parts: Sequence[TokenSlices], width: int, of_types: bool) -> NDArray[Any]:
    """Return an array ``[N, width]`` with the parts of each text side by side from column 0.

    Columns after the last part are undefined. At most one part may vary from text to text.
    """
    before = list(takewhile(lambda part: part.is_constant, parts))
    column = sum(len(part.source) for part in before)
    if len(before) < len(parts):
        varying = parts[len(before)]
        laid = varying.rows(width, column, of_types)
        texts, at = np.arange(len(laid))[:, None], column + varying.lengths[:, None]
        for part in parts[len(before) + 1 :]:
            laid[texts, at + np.arange(len(part.source))] = part.types if of_types else part.source
            at = at + part.lengths[:, None]
    else:
        laid = np.empty((len(before[0].lengths), width), before[0].source.dtype)
    for part in reversed(before):
        column -= len(part.source)
        laid[:, column : column + len(part.source)] = part.types if of_types else part.source
    return laid


def _joined(lists: Sequence[Sequence[int]], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.fromiter(chain.from_iterable(lists), np.int64, int(lengths.sum()))
